"""The updates of a step that are skipped, because a loss or a gradient of some rank is not finite.

All ranks come to the same answer, for they see the same sums and norms. Both networks keep their
weights, moments and counts of updates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from learner.step_figures import Figure, UpdateSums
from learner.zero.zero_engine import ZeroEngine

_LOSSES: tuple[Figure, ...] = ("policy_loss", "kl_loss", "value_loss")


class SkippedUpdates:
    """Collects which samples of a step were in updates that were skipped, and why those were."""

    def __init__(self) -> None:
        self.why: list[str] = []
        """A reason for each update that was skipped: `policy_loss is nan on rank 1`."""
        self._skipped: set[int] = set()
        self._used: set[int] = set()

    @property
    def untrained(self) -> tuple[int, ...]:
        """The samples, by place in the batch, whose updates were all skipped."""
        return tuple(sorted(self._skipped - self._used))

    def note(self, part: Sequence[int], why: str) -> None:
        """Hear of an update on these samples; `why` it was skipped, empty if it was made."""
        if why:
            self.why.append(why)
            self._skipped.update(part)
        else:
            self._used.update(part)


def reason(
    figures: Mapping[Figure, float], sums: UpdateSums, moved: Mapping[str, ZeroEngine]
) -> str:
    """Return what is not finite about an update, empty if nothing is. A collective.

    `figures`: the sums over all ranks. `moved`: the networks that have gradients, by name.
    """
    for name in _LOSSES:
        if not math.isfinite(figures[name]):
            ranks = ", ".join(map(str, sums.ranks_not_finite()))
            return f"{name} is {figures[name]}" + (f" on rank {ranks}" if ranks else "")
    for of, network in moved.items():
        norm = network.norm()
        if not math.isfinite(norm):
            return f"the gradients' norm of the {of} is {norm}"
    return ""
