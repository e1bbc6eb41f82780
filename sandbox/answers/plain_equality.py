"""Whether a return value is the expected one: Python's equality, within a tolerance.

Values are plain data as `plain_data.decode` makes it; the actual one may be anything that a hostile
program can think of. Sets and lists in any order are sorted and compared pair by pair, which is
enough for all but numbers that differ by less than the tolerance; those are searched for partners,
with a budget, for the search is quadratic and holds the interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sandbox.answers.matching import MOST, all_paired

_MOST_WORK = 1_000_000
"""Items that one comparison looks at in its searches: about half a second."""
_BYTES_AN_ITEM = 64
"""Of text, as fast to compare as an item."""
_LARGE = 10**300
_REAL: Any = (int, float, Fraction)
_LONGEST_KEY = 10**400


@dataclass(slots=True)
class Terms:
    """The terms of a comparison, passed down to the parts of a value."""

    tolerance: float
    """Relative and absolute, of expected floats; 0: none."""
    work_left: int = _MOST_WORK
    strict: bool = False
    """A list is no tuple, and a text no key that is a number."""


def equal(expected: Any, actual: Any, terms: Terms) -> bool:
    """Compare two values of any kind."""
    for kind, accepted, compare in _BY_KIND:
        if isinstance(expected, kind):
            equivalent = list if terms.strict and kind is list else accepted
            return isinstance(actual, equivalent) and compare(expected, actual, terms)
    return bool(expected == actual)


def equal_in_any_order(expected: list[Any], actual: Any, terms: Terms) -> bool:
    """Compare two lists whose order counts for nothing.

    Beyond the budget equals pair first, and what else is left over counts as different.
    """
    if not isinstance(actual, list | tuple) or len(expected) != len(actual):
        return False
    left, right = sorted(expected, key=_rank), sorted(actual, key=_rank)
    if all(equal(value, other, terms) for value, other in zip(left, right, strict=True)):
        return True
    work = _work(left)
    if work > terms.work_left or len(left) > MOST:
        left, right = _without_equals(left, right, Terms(0.0, 0, terms.strict))
        work = _work(left)
        if work > terms.work_left or len(left) > MOST:
            return False
    terms.work_left -= work
    return all_paired(left, right, lambda value, other: equal(value, other, terms))


def _work(values: list[Any]) -> int:
    """Return the items that are looked at when each value is compared with as many others."""
    return len(values) * sum(map(_size, values))


def _size(value: Any) -> int:
    if isinstance(value, list | tuple):
        return 1 + sum(map(_size, value))
    if isinstance(value, dict):
        return 1 + sum(map(_size, value.values())) + len(value)
    if isinstance(value, set | frozenset):  # which may have to be searched itself
        return 1 + _work(list(value))
    if isinstance(value, str | bytes | bytearray):
        return 1 + len(value) // _BYTES_AN_ITEM
    return 1


def _without_equals(left: list[Any], right: list[Any], terms: Terms) -> tuple[list[Any], list[Any]]:
    """Return what remains when those that are written alike have been paired."""
    written: dict[str, list[Any]] = {}
    for other in right:
        written.setdefault(_text(other), []).append(other)
    remaining = []
    for value in left:
        alike = written.get(_text(value))
        # tuples and lists are written alike: the tolerance has nothing to do with it
        if alike and equal(value, alike[-1], terms):
            alike.pop()
        else:
            remaining.append(value)
    return remaining, [other for others in written.values() for other in others]


def _rank(value: Any) -> tuple[bool, float, str]:
    """Numbers first, by value; the rest by how they are written."""
    if isinstance(value, _REAL) and abs(value) < _LARGE:
        return False, float(value), ""
    if isinstance(value, int):
        return True, float(len(hex(value)) * (1 if value > 0 else -1)), hex(value)
    return True, 0.0, _text(value)


def _text(value: Any) -> str:
    """Equal values are written alike, but for floats that differ within the tolerance.

    Texts, since their hashes are secret: a program could make a million numbers share one.
    """
    if isinstance(value, Fraction) and abs(value) < _LARGE and float(value) == value:
        value = float(value)
    if isinstance(value, float):
        return hex(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):  # in decimal it could have more digits than Python writes
        return hex(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        pairs = (f"{_text(_json_key(key))}:{_text(item)}" for key, item in value.items())
        return f"{{{','.join(sorted(pairs))}}}"
    if isinstance(value, set | frozenset):
        return f"<{','.join(sorted(map(_text, value)))}>"
    return repr(value)


def _equal_float(expected: float, actual: Any, terms: Terms) -> bool:
    if isinstance(actual, float) and math.isnan(expected):
        return math.isnan(actual)
    if expected == actual or not terms.tolerance or isinstance(actual, complex):
        return bool(expected == actual)
    try:
        return math.isclose(expected, actual, rel_tol=terms.tolerance, abs_tol=terms.tolerance)
    except OverflowError:  # an integer that no float comes near
        return False


def _equal_items(expected: Any, actual: Any, terms: Terms) -> bool:
    return len(expected) == len(actual) and all(
        equal(left, right, terms) for left, right in zip(expected, actual, strict=True)
    )


def _equal_dict(expected: dict[Any, Any], actual: dict[Any, Any], terms: Terms) -> bool:
    if len(expected) != len(actual):
        return False
    by_text = {_json_key(key): value for key, value in actual.items()}
    for key, value in expected.items():
        if key in actual:
            found = actual[key]
        elif isinstance(key, str) and key in by_text and not terms.strict:
            found = by_text[key]
        else:
            return False
        if not equal(value, found, terms):
            return False
    return True


def _json_key(key: Any) -> Any:
    """Return the text that JSON makes of a key."""
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None:
        return "null"
    if isinstance(key, int):
        return f"{key}" if abs(key) < _LONGEST_KEY else key
    return repr(key) if isinstance(key, float) else key


def _equal_set(expected: Any, actual: Any, terms: Terms) -> bool:
    return expected == actual or equal_in_any_order(list(expected), list(actual), terms)


_BY_KIND: tuple[tuple[Any, Any, Callable[[Any, Any, Terms], bool]], ...] = (
    (float, int | float | Fraction | complex, _equal_float),
    (list, list | tuple, _equal_items),
    (tuple, tuple, _equal_items),
    (dict, dict, _equal_dict),
    (set | frozenset, set | frozenset, _equal_set),
)
"""The type that is expected, those accepted for it, and how the two are compared."""
