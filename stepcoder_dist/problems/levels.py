"""Levels of difficulty by their sources' own names, and which of APPS's three each counts as.

A problem keeps the name that its source gives it. Where figures need the same levels for every set
(the metrics of a run), the name is mapped to APPS's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.records import LEVELS

_EASY, _MEDIUM, _HARD = LEVELS
_APPS_LEVEL = {
    **dict.fromkeys(("introductory", "easy", "a", "b"), _EASY),
    **dict.fromkeys(("unknown_difficulty", "external"), _EASY),  # as a row without a level
    **dict.fromkeys(("interview", "medium", "medium_hard", "c", "d"), _MEDIUM),
    **dict.fromkeys(("competition", "hard", "very_hard", "harder", "hardest"), _HARD),
    **dict.fromkeys("efghijklmnopqrstuv", _HARD),
}
"""By name in small letters, easiest first: APPS, TACO, LiveCodeBench and LeetCode, CodeContests
(where a Codeforces problem has its letter)."""
_RANK = {name: rank for rank, name in enumerate(_APPS_LEVEL)}


def level_of(value: Any) -> str:
    """Return the level's name as its source writes it; `introductory` where the row names none.

    Raises `RowError` for a name that no known set has.
    """
    name = "" if value is None else str(value).strip()
    if not name:
        return LEVELS[0]
    if name.lower() in LEVELS:
        return name.lower()
    if name.lower() not in _APPS_LEVEL:
        raise RowError(
            f"the level is {name[:40]!r}, not one of {', '.join(LEVELS)}, or a published set's "
            "(easy, MEDIUM_HARD, …)"
        )
    return name


def apps_level(name: str) -> str:
    """Return which of APPS's three levels a level counts as."""
    return _APPS_LEVEL.get(name.lower(), LEVELS[0])


def ordered(names: Iterable[str]) -> list[str]:
    """Return the distinct names, easiest first."""
    return sorted(set(names), key=lambda name: (_RANK.get(name.lower(), len(_RANK)), name))
