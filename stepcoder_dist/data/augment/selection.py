"""Choosing the tests that are worth keeping: a greedy cover, the test that shows most first."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence


def covering(
    shown: Sequence[frozenset[Hashable]], missing: Collection[Hashable], most: int
) -> list[int]:
    """Return the places of up to `most` tests, in the order of choice.

    `shown[i]` is what test i shows: mutants, solutions or lines. `missing` is what no test shows
    yet. Each choice shows the most of what is still missing, the earliest of equals. The choice
    ends when no test shows anything new.
    """
    chosen: list[int] = []
    left = set(missing)
    while len(chosen) < most:
        gains = [len(left & one) for one in shown]
        best = max(range(len(shown)), key=lambda place: gains[place], default=None)
        if best is None or not gains[best]:
            break
        chosen.append(best)
        left -= shown[best]
    return chosen
