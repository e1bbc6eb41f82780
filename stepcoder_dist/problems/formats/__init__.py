"""The formats of published problem sets, and which of them a row has.

A format is one file with a `FORMAT`, and one line of `FORMATS`. A row has the first format of the
list that fits its keys.
"""

from __future__ import annotations

from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.formats import (
    acecode,
    apps,
    code_contests,
    evalplus,
    humaneval,
    kodcode,
    leetcode,
    livecodebench,
    mbpp,
    own,
    taco,
)
from stepcoder_dist.problems.formats.draft import Draft, Format, a_type
from stepcoder_dist.problems.formats.own import OWN_FORMAT, PYTHON_TEXT

__all__ = ["FORMATS", "OWN_FORMAT", "PYTHON_TEXT", "Draft", "a_type", "draft", "problem_id"]

FORMATS: tuple[Format, ...] = (
    leetcode.FORMAT,
    taco.FORMAT,
    apps.FORMAT,
    evalplus.FORMAT,
    mbpp.FORMAT,
    livecodebench.FORMAT,
    code_contests.FORMAT,
    acecode.FORMAT,
    own.FORMAT,
    humaneval.FORMAT,
    kodcode.FORMAT,
)
_NAMED_KEYS = 6


def draft(row: Any, where: str) -> Draft:
    """Detect the format by its keys and bring the row into one shape. Raises `RowError`."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {a_type(row)}, not an object")
    for known in FORMATS:
        if known.fits(row):
            return known.read(row, where)
    raise RowError(_unknown(row))


def problem_id(row: Any, where: str) -> str | None:
    """Return the id that the row would get, for an error about the row; None where it has none."""
    try:
        return draft(row, where).problem_id
    except (RowError, ValueError, RecursionError):
        value = row.get("problem_id") if isinstance(row, dict) else None
        return value if isinstance(value, str) else None


def _unknown(row: dict[str, Any]) -> str:
    """Say which known format the row is nearest to, and which of its keys are missing."""
    seen = ", ".join(map(str, list(row)[:_NAMED_KEYS])) or "(none)"
    more = len(row) - _NAMED_KEYS
    seen += f" and {more} more" if more > 0 else ""

    def likeness(known: Format) -> tuple[int, int]:
        common = sum(key in row for key in (*known.keys, *known.usual))
        return common, -sum(key not in row for key in known.keys)

    nearest = max(FORMATS, key=likeness)
    hint = "`stepcoder data formats` lists the known ones"
    if not likeness(nearest)[0]:
        return f"keys {seen} fit no known format; {hint}"
    missing = [key for key in nearest.keys if key not in row]
    lacks = (" or " if nearest.any_key else ", ").join(missing)
    return f"keys {seen} fit no known format: {nearest.name} is nearest and lacks {lacks}; {hint}"
