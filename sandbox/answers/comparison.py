"""Is this answer right? Decided on the host: expected values never enter a container.

Standard output, by `TestSuite.comparison`:

    tokens           lines and their tokens equal, in order and case; white space at the end of a
                     line or of the output counts for nothing; where the expected token is
                     written as a float, relative and absolute tolerance 1e-6
    exact            equal to the last byte
    unordered_lines  as tokens, the lines in any order
    floats           as tokens, every number within the tolerance, however it is written

Return values: Python's equality on plain data (so `True == 1`), the same for every kind but two
things that JSON cannot say. A tuple equals the list of its items where a list is expected; a key
that is a number equals the text that JSON makes of it (neither where `TestSuite.strict_types`). A
float is expected: tolerance, and nan equals nan. `exact` drops the tolerance; `unordered_lines`
ignores the order of the outer list.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from sandbox.answers.matching import MOST, all_paired
from sandbox.answers.plain_equality import Terms, equal, equal_in_any_order

TOLERANCE = 1e-6

_FLOAT = re.compile(rb"[+-]?(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+")
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_LONGEST_NUMBER = 400
_MOST_TOKENS_SEARCHED = 1_000_000
"""About half a second of the interpreter, which nothing else has meanwhile."""

Line = list[bytes]


def equal_output(expected: str, actual: bytes, comparison: str) -> bool:
    """Compare standard output; `actual` may be any bytes."""
    wanted = expected.encode("utf-8", "surrogatepass")
    return wanted == actual or _OUTPUT[comparison](wanted, actual)


def equal_value(expected: Any, actual: Any, comparison: str, *, strict: bool = False) -> bool:
    """Compare a return value; `actual` is plain data as `plain_data.decode` makes it."""
    terms = Terms(0.0 if comparison == "exact" else TOLERANCE, strict=strict)
    if comparison == "unordered_lines" and isinstance(expected, list):
        return equal_in_any_order(expected, actual, terms)
    return equal(expected, actual, terms)


# ── standard output ──────────────────────────────────────────────────────────────────────────


def _tokens(wanted: bytes, actual: bytes) -> bool:
    left, right = _trimmed(wanted, actual)
    return _same_lines(_lines(left), _as_many_lines(left, right), _FLOAT)


def _floats(wanted: bytes, actual: bytes) -> bool:
    left, right = _trimmed(wanted, actual)
    return _same_lines(_lines(left), _as_many_lines(left, right), _NUMBER)


def _unordered_lines(wanted: bytes, actual: bytes) -> bool:
    left = [line.split() for line in wanted.split(b"\n") if line.strip()]
    right = [line for line in actual.split(b"\n") if line.strip()]
    if len(left) != len(right):
        return False
    most = max(map(len, left), default=0)
    lines = [line.split(None, most) for line in right]
    groups: dict[Any, tuple[list[Any], list[Any]]] = {}
    for side, items in enumerate((left, lines)):
        for line in items:
            shape, numbers = _shape(line)
            groups.setdefault(shape, ([], []))[side].append((numbers, line))
    return all(_pair_up(*group) for group in groups.values())


def _trimmed(wanted: bytes, actual: bytes) -> tuple[bytes, bytes]:
    """Return both texts without what counts for nothing at their ends.

    Outputs copied from a contest's page begin with a line end that no solution prints; one that
    prints it is right as well. Where none is expected a blank first line is a line.
    """
    left, right = wanted.rstrip(), actual.rstrip()
    body = left.lstrip()
    if b"\n" in left[: len(left) - len(body)]:
        return body, right.lstrip()
    return left, right


def _lines(text: bytes) -> list[Line]:
    return [line.split() for line in text.split(b"\n")]


def _as_many_lines(wanted: bytes, actual: bytes) -> Iterator[Line]:
    """Yield the lines of `actual`, none where they are not as many as are wanted.

    Sixteen megabytes of line ends, or of tokens in one line, would take gigabytes when they are
    split: neither is ever split further than the comparison needs.
    """
    if wanted.count(b"\n") == actual.count(b"\n"):
        for line, other in zip(wanted.split(b"\n"), actual.split(b"\n"), strict=True):
            yield other.split(None, len(line.split()))


def _never(_wanted: bytes, _actual: bytes) -> bool:
    return False


_OUTPUT: dict[str, Callable[[bytes, bytes], bool]] = {
    "tokens": _tokens,
    "exact": _never,
    "unordered_lines": _unordered_lines,
    "floats": _floats,
}
COMPARISONS = frozenset(_OUTPUT)


def _same_lines(wanted: list[Line], actual: Iterable[Line], tolerated: re.Pattern[bytes]) -> bool:
    lines = 0
    for left, right in zip(wanted, actual, strict=False):
        if left != right and not _same_tokens(left, right, tolerated):
            return False
        lines += 1
    return lines == len(wanted)


def _same_tokens(wanted: Line, actual: Line, tolerated: re.Pattern[bytes]) -> bool:
    return len(wanted) == len(actual) and all(
        left == right or (bool(tolerated.fullmatch(left)) and _close(left, right))
        for left, right in zip(wanted, actual, strict=True)
    )


def _close(wanted: bytes, actual: bytes) -> bool:
    if max(len(wanted), len(actual)) > _LONGEST_NUMBER or not _NUMBER.fullmatch(actual):
        return False
    left, right = float(wanted), float(actual)
    if math.isinf(left) or math.isinf(right):
        return False
    return math.isclose(left, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _shape(line: Line) -> tuple[Any, list[float]]:
    """Return a line without its numbers, and its numbers.

    Lines that may be the same have one shape.
    """
    numbers = [len(t) <= _LONGEST_NUMBER and bool(_NUMBER.fullmatch(t)) for t in line]
    shape = tuple(None if number else t for t, number in zip(line, numbers, strict=True))
    return shape, [float(t) for t, number in zip(line, numbers, strict=True) if number]


def _pair_up(wanted: list[Any], actual: list[Any]) -> bool:
    """Return whether each line has a partner of its own among the others of its shape.

    Sorted by their numbers they pair at once; but for lines of several numbers that differ by
    less than the tolerance, whose partners are searched for.
    """
    if len(wanted) != len(actual):
        return False
    left = [line for _, line in sorted(wanted, key=itemgetter(0))]
    right = [line for _, line in sorted(actual, key=itemgetter(0))]
    if all(_same_tokens(line, other, _FLOAT) for line, other in zip(left, right, strict=True)):
        return True
    if _too_many(left):  # then equal ones pair first
        common = Counter(map(tuple, left)) & Counter(map(tuple, right))
        left, right = _without(left, common), _without(right, common)
        if _too_many(left):
            return False
    return all_paired(left, right, lambda line, other: _same_tokens(line, other, _FLOAT))


def _too_many(lines: list[Line]) -> bool:
    return len(lines) > MOST or len(lines) * sum(map(len, lines)) > _MOST_TOKENS_SEARCHED


def _without(lines: list[Line], common: Counter[tuple[bytes, ...]]) -> list[Line]:
    left, found = common.copy(), []
    for line in lines:
        if left[tuple(line)] > 0:
            left[tuple(line)] -= 1
        else:
            found.append(line)
    return found
