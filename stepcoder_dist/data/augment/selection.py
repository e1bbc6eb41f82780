"""Which of many tests are worth keeping: a greedy cover, the most telling test first."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence


def telling(
    shown: Sequence[frozenset[Hashable]], missing: Collection[Hashable], most: int
) -> list[int]:
    """Places of up to `most` tests, in the order of choice.

    `shown[i]` is what test i shows, be it mutants, solutions or lines; `missing` is what no test
    shows yet. Each choice shows the most of what is still missing, the earliest of equals; it ends
    when none shows anything new.
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
