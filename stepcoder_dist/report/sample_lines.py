"""A recorded sample as the page draws it: lines, each with its fate and its tokens."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, chain, cycle, pairwise, repeat
from math import isfinite
from typing import Any

from stepcoder_dist.text.program import line_starts

GIVEN, EXECUTED, FOLLOWS, MASKED, UNTRUSTED, NOTHING_RAN, AFTER = "gefmuna"
"""Fates of lines: given; written and executed; kept with the statement or block it belongs to;
masked; kept because its coverage proves nothing; kept because the program does not compile;
after the program (closing fence, prose)."""

GIVEN_TEXT = -1
"""The token index of characters that were given."""

Piece = tuple[int, str]
"""A token's index, and the part of its text on one line."""


def drawn(row: dict[str, Any]) -> dict[str, Any]:
    """Return the page's object for one detailed row of samples.jsonl.

    Raises `KeyError`, `TypeError` or `ValueError` for a row that does not fit together.
    """
    try:
        return _drawn(row)
    except OverflowError as error:  # of a number that is not finite, or that no float can hold
        raise ValueError(str(error)) from None


def _drawn(row: dict[str, Any]) -> dict[str, Any]:
    text = str(row["source"]) + str(row["tail"])
    lengths = [int(length) for length in row["token_chars"]]
    runs = [int(run) for run in row["kept"]]
    logprobs = [float(value) for value in row["logprobs"]]
    given = int(row["given_chars"])
    if given + sum(lengths) != len(text) or not len(lengths) == sum(runs) == len(logprobs):
        raise ValueError("token lengths, flags and log-probs do not fit the text")
    kept = _flags(runs)
    reward = float(row["reward"])
    if not all(map(isfinite, (reward, *logprobs))):
        raise ValueError("the reward or a log-prob is not finite")
    return {
        "id": str(row["sample_id"]),
        "problem": str(row["problem_id"]),
        "level": str(row.get("level", "")),
        "step": int(row["step"]),
        "stage": int(row["stage"]),
        "outcome": str(row["outcome"]),
        "reward": reward,
        "weights": [int(version) for version in row["weights"]],
        "tests": [int(row["tests_passed"]), int(row["tests_total"])],
        "detail": str(row["detail"]),
        "lines": _lines(row, text, lengths),
        "logprobs": logprobs,
        "kept": "".join("k" if flag else "m" for flag in kept),
        # tokens that print nothing by themselves are not on any line
        "silent": [index for index, length in enumerate(lengths) if not length],
    }


def _lines(row: dict[str, Any], text: str, lengths: list[int]) -> list[list[Any]]:
    """Return the lines, each as [fate, was executed, pieces]."""
    given, code = int(row["given_chars"]), len(str(row["source"]))
    executed, kept = set(row["executed_lines"]), set(row["kept_lines"])
    ends = list(accumulate(lengths, initial=given))
    starts = [*line_starts(text), len(text)]
    lines: list[list[Any]] = []
    for number, (start, end) in enumerate(pairwise(starts), start=1):
        if end <= given:
            fate = GIVEN
        elif start >= code:
            fate = AFTER
        elif not row["compiled"]:
            fate = NOTHING_RAN
        elif not row["coverage_trusted"]:
            fate = UNTRUSTED
        elif number in executed and number in kept:
            fate = EXECUTED
        else:
            fate = FOLLOWS if number in kept else MASKED
        lines.append([fate, number in executed, _pieces(text, start, end, given, ends)])
    return lines


def _pieces(text: str, start: int, end: int, given: int, ends: list[int]) -> list[Piece]:
    pieces: list[Piece] = []
    if start < given:
        pieces.append((GIVEN_TEXT, text[start : min(end, given)]))
    place = max(start, given)
    while place < end:
        # the first token that ends beyond this character; tokens without text end before it
        token = bisect_right(ends, place) - 1
        stop = min(ends[token + 1], end)
        pieces.append((token, text[place:stop]))
        place = stop
    return pieces


def _flags(runs: list[int]) -> list[bool]:
    """Return the inverse of `sample_rows._runs`."""
    alternating = cycle((True, False))
    return list(chain.from_iterable(repeat(next(alternating), run) for run in runs))
