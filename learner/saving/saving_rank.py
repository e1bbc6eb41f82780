"""The rank's side of a checkpoint, whatever the rank trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learner.rank_process import Rank
from learner.saving import checkpoint
from learner.saving.checkpoint import Part
from learner.saving.manifest import Sums
from learner.zero.zero_engine import ZeroEngine
from stepcoder_dist.records import WeightVersion


class SavingRank(Rank):
    """A rank that writes checkpoints in three calls; `saving_round.py` is the driver's side."""

    def __init__(self, *arguments: Any) -> None:
        """`arguments` are those of `Rank`."""
        super().__init__(*arguments)
        self._parts: dict[str, Part] = {}
        """By folder; of those that are written the sums alone."""

    def engines(self) -> Mapping[str, ZeroEngine]:
        """Return the networks that a checkpoint holds, by name."""
        raise NotImplementedError

    def progress(self) -> tuple[WeightVersion, dict[str, int]]:
        """Return how far the rank is, and what it counts."""
        raise NotImplementedError

    def take_checkpoint(self, folder: str, copied: bool) -> None:
        """Copy this rank's part, or write it at once. A collective."""
        version, counters = self.progress()
        self._parts[folder] = checkpoint.take(
            Path(folder), self.engines(), version=version, counters=counters, copied=copied
        )

    def write_checkpoint(self, folder: str) -> Sums:
        """Write the part; return the sums of its files. In a thread of its own, no collective."""
        return self._parts[folder].write()

    def finish_checkpoint(self, folder: str, sums: Sequence[Sums]) -> None:
        """Make a checkpoint visible that every rank has written. On rank 0 alone."""
        self._parts[folder].finish(self.config, sums)
