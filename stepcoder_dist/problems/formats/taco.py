"""TACO (Li et al. 2023, `BAAI/TACO`): APPS's fields, five levels, limits as text, and no ids."""

from __future__ import annotations

import re
from typing import Any

from stepcoder_dist.problems.formats import apps
from stepcoder_dist.problems.formats.draft import Draft, Format, own_id

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_SECONDS = {"s": 1.0, "ms": 1e-3}
_MEBIBYTES = {"b": 2.0**-20, "k": 2.0**-10, "m": 1.0, "g": 2.0**10}
"""By the first letter: `256 megabytes`, `256 MB`, `65536 kilobytes`."""


def _read(row: dict[str, Any], where: str) -> Draft:
    found = apps.read(row, where)
    found.problem_id = f"taco/{own_id(row, where, 'problem_id', 'id')}"
    found.time_limit_s = _seconds(row.get("time_limit"))
    found.memory_limit_mb = _mebibytes(row.get("memory_limit"))
    return found


def _seconds(value: Any) -> float | None:
    """Read `2 seconds` or `500 ms`; None for what says nothing (`O(n) seconds`)."""
    found = _AMOUNT.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    unit = "ms" if found[2].lower().startswith(("ms", "milli")) else found[2][0].lower()
    return float(found[1]) * _SECONDS[unit] or None if unit in _SECONDS else None


def _mebibytes(value: Any) -> float | None:
    found = _AMOUNT.match(value) if isinstance(value, str) else None
    unit = found[2][0].lower() if found else ""
    return float(found[1]) * _MEBIBYTES[unit] or None if found and unit in _MEBIBYTES else None


FORMAT = Format(
    name="TACO",
    about="BAAI/TACO; the row's number is its id",
    keys=("question", "input_output", "difficulty", "skill_types"),
    usual=("raw_tags", "tags", "source", "picture_num"),
    read=_read,
)
