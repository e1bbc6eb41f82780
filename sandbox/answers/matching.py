"""Whether each of some things has a partner of its own: a perfect matching, for small numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Left = TypeVar("Left")
Right = TypeVar("Right")

MOST = 300
"""Things on a side; beyond that the search would take too long and recurse too deeply."""


def all_paired(
    left: Sequence[Left], right: Sequence[Right], fits: Callable[[Left, Right], bool]
) -> bool:
    """Return whether the left ones can each have a partner of their own on the right that fits."""
    partners = [[place for place, other in enumerate(right) if fits(one, other)] for one in left]
    owner: dict[int, int] = {}
    return all(_finds_partner(place, partners, owner, set()) for place in range(len(left)))


def _finds_partner(
    item: int, partners: list[list[int]], owner: dict[int, int], asked: set[int]
) -> bool:
    """Augmenting paths: a partner that is taken is had if its owner finds another."""
    for candidate in partners[item]:
        if candidate not in asked:
            asked.add(candidate)
            if candidate not in owner or _finds_partner(owner[candidate], partners, owner, asked):
                owner[candidate] = item
                return True
    return False
