"""Save and load everything a learner needs to resume bitwise; `manifest.py` checks it first.

    step_000010/
      manifest.json     version, config, every file's size and CRC-32; written last
      policy/ critic/   DeepSpeed's own files: weights, optimiser states (no critic, no folder)
      rank_0000.pt      random states of each rank

The folder is written next to its place and renamed: it is complete, or not there. All ranks see
one file system. Learning-rate schedules are functions of the version and need no state.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learner.saving import manifest
from learner.saving.manifest import Manifest
from learner.zero_engine import ZeroEngine
from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.files import draft_folder
from stepcoder_dist.records import WeightVersion


def save(
    folder: Path,
    config: RunConfig,
    engines: Mapping[str, ZeroEngine],
    *,
    version: WeightVersion,
    counters: dict[str, int],
) -> None:
    """Write a checkpoint: every rank its share, rank 0 the manifest. A collective."""
    rank = torch.distributed.get_rank()
    draft = draft_folder.draft_of(folder)
    if rank == 0:
        draft_folder.begin(folder)
    torch.distributed.barrier()
    for name, engine in engines.items():
        engine.save(draft / name)
    torch.save(_random_states(), draft / _rank_file(rank))
    torch.distributed.barrier()
    if rank == 0:
        manifest.write(draft, config, version=version, counters=counters)
        draft_folder.commit(draft)
    torch.distributed.barrier()


def load(folder: Path, engines: Mapping[str, ZeroEngine]) -> Manifest:
    """Fill engines and random states from a verified folder. A collective."""
    for name, engine in engines.items():
        engine.load(folder / name)
    states = torch.load(folder / _rank_file(torch.distributed.get_rank()), weights_only=True)
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    return manifest.read(folder)


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
