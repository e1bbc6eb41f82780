"""Save and load everything a learner needs to resume bitwise; `manifest.py` checks it first.

    step_000010/
      manifest.json     version, config, every file's size and CRC-32; written last
      policy/ critic/   DeepSpeed's own files: weights, optimiser states (no critic, no folder)
      rank_0000.pt      random states of each rank

The folder is written next to its place and renamed: it is complete, or not there. All ranks see
one file system. Learning-rate schedules are functions of the version and need no state.

    part = take(...)             a collective, short where the part is a copy
    sums = part.write()          each rank alone, while the next steps run
    part.finish(..., all sums)   rank 0 alone; it reads no file
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch

from learner.saving import host_copy, manifest, summed_file
from learner.saving.manifest import Manifest, Sums
from learner.zero.zero_engine import ZeroEngine
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import LearnerError
from stepcoder_dist.host.files import draft_folder
from stepcoder_dist.records import WeightVersion


class Part:
    """What one rank writes of a checkpoint."""

    def __init__(
        self, folder: Path, version: WeightVersion, counters: dict[str, int], *, copied: bool
    ) -> None:
        """`copied`: keep copies, and write them in `write`; else each state is written at once."""
        self._folder = folder
        self._draft = draft_folder.draft_of(folder)
        self._version = version
        self._counters = counters
        self._copied = copied
        self._copies: list[tuple[Path, Any]] = []
        self._sums: Sums = {}
        self._failure: LearnerError | None = None

    def keep(self, path: Path, state: Any) -> None:
        """Take a state that belongs into a file of the draft."""
        if self._copied:
            self._copies.append((path, host_copy.of(state)))
            return
        try:
            self._write(path, state)
        except LearnerError as error:  # raised by `write`: the other ranks wait in a collective
            self._failure = error

    def write(self) -> Sums:
        """Write what is not written yet; return every file's sums once it is on disk.

        Raises `LearnerError`, naming the folder. No collective.
        """
        if self._failure:
            raise self._failure
        while self._copies:
            self._write(*self._copies.pop(0))  # its memory is free again
        return self._sums

    def finish(self, config: RunConfig, sums: Sequence[Sums]) -> None:
        """Describe what all ranks have written, and make it visible. Rank 0 alone; reads no file.

        Raises `LearnerError` where it does not see a file of another rank.
        """
        files = {name: fingerprint for part in sums for name, fingerprint in part.items()}
        for name, (size, _) in files.items():
            path = self._draft / name
            if not path.is_file() or path.stat().st_size != size:
                raise LearnerError(
                    f"{path}: rank 0 does not see what another rank wrote there; the folder has to "
                    "be on a file system that all ranks share"
                )
        manifest.write(self._draft, config, files, version=self._version, counters=self._counters)
        draft_folder.commit(self._draft)

    def _write(self, path: Path, state: Any) -> None:
        file: summed_file.SummedFile | None = None
        try:
            with summed_file.created(path) as file:
                torch.save(state, cast("IO[bytes]", file))
        except (OSError, RuntimeError) as error:
            cause = (file and file.failure) or error
            raise LearnerError(
                f"{self._folder}: the checkpoint could not be written ({cause}); those before it "
                "are as they were: make room, and resume from the newest"
            ) from error
        self._sums[str(path.relative_to(self._draft))] = file.fingerprint


def take(
    folder: Path,
    engines: Mapping[str, ZeroEngine],
    *,
    version: WeightVersion,
    counters: dict[str, int],
    copied: bool,
) -> Part:
    """Begin a checkpoint: every rank its part, as it is now. A collective."""
    rank = torch.distributed.get_rank()
    draft = draft_folder.draft_of(folder)
    part = Part(folder, version, counters, copied=copied)
    if rank == 0:
        draft_folder.begin(folder)
    torch.distributed.barrier()
    for name, engine in engines.items():
        engine.save(draft / name, part.keep)
    part.keep(draft / _rank_file(rank), _random_states())
    return part


def load(folder: Path, engines: Mapping[str, ZeroEngine]) -> Manifest:
    """Fill engines and random states from a verified folder. A collective.

    A rank that the checkpoint's run did not have keeps the random states that it has started with.
    """
    for name, engine in engines.items():
        engine.load(folder / name)
    own = folder / _rank_file(torch.distributed.get_rank())
    if own.is_file():
        _set_random_states(torch.load(own, weights_only=True))
    return manifest.read(folder)


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])


def _random_states() -> dict[str, Any]:
    # the learner's own randomness is a function of seed and version; these are for libraries that
    # use the global states
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _rank_file(rank: int) -> str:
    return f"rank_{rank:04d}.pt"
