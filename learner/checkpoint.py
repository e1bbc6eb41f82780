"""Save and load everything a learner needs to go on bitwise; refuse what is not its own.

    step_000010/
      manifest.json     version, config, every file's size and CRC-32; written last
      policy/ critic/   DeepSpeed's own files: weights, optimiser states
      rank_0000.pt      random states of each rank

The folder is written beside its place and renamed: it is there whole, or not at all. All ranks see
one file system. Learning-rate schedules are functions of the version and need no state.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learner import hf_folder
from learner.zero_engine import ZeroEngine
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import UserError
from stepcoder_dist.records import WeightVersion

MANIFEST = "manifest.json"
OPERATIONAL = {"resources", "start_timeout_s"}
"""Keys of [learner] that may change between a save and a load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `manifest.json` holds."""

    version: WeightVersion
    counters: dict[str, int]
    config: dict[str, Any]
    """What the stored state depends on, by dotted key."""
    config_sha256: str
    files: dict[str, list[int]]
    """Path in the folder -> [bytes, CRC-32]."""


def save(
    folder: Path,
    config: RunConfig,
    engines: Mapping[str, ZeroEngine],
    *,
    version: WeightVersion,
    counters: dict[str, int],
) -> None:
    """A collective: every rank writes its share, rank 0 the manifest."""
    rank = torch.distributed.get_rank()
    partial = folder.with_name(folder.name + ".partial")
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    torch.distributed.barrier()
    for name, engine in engines.items():
        engine.save(partial / name)
    torch.save(_random_states(), partial / _rank_file(rank))
    torch.distributed.barrier()
    if rank == 0:
        identity = _identity(config)
        manifest = Manifest(
            version=version,
            counters=counters,
            config=identity,
            config_sha256=_sha256(identity),
            files=_fingerprints(partial),
        )
        (partial / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
        hf_folder.replace(partial, folder)
    torch.distributed.barrier()


def verify(folder: Path, config: RunConfig) -> Manifest:
    """Read the manifest and check every file against it.

    Raises `UserError` for a folder that is no checkpoint, is truncated or damaged, or comes from a
    run with other settings.
    """
    manifest = _read_manifest(folder)
    identity = _identity(config)
    if manifest.config_sha256 != _sha256(identity):
        for key in sorted(identity.keys() | manifest.config.keys()):
            here, there = identity.get(key), manifest.config.get(key)
            if here != there:
                raise UserError(
                    f"{folder} comes from another run: {key} = {there!r} there, {here!r} here; "
                    "set it back, or start in a new run_dir"
                )
    found = _fingerprints(folder)
    for name, expected in manifest.files.items():
        if found.get(name) != expected:
            seen = "is missing" if name not in found else f"has {found[name][0]} bytes"
            raise UserError(
                f"{folder / name} is damaged: it {seen}, the manifest says {expected[0]} bytes and "
                f"CRC-32 {expected[1]:08x}; resume from an earlier checkpoint"
            )
    return manifest


def load(folder: Path, engines: Mapping[str, ZeroEngine]) -> Manifest:
    """A collective, on a verified folder: fill engines and random states."""
    for name, engine in engines.items():
        engine.load(folder / name)
    states = torch.load(folder / _rank_file(torch.distributed.get_rank()), weights_only=True)
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    return _read_manifest(folder)


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


def _read_manifest(folder: Path) -> Manifest:
    try:
        fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return Manifest(**fields)
    except FileNotFoundError:
        raise UserError(
            f"{folder} is no checkpoint: it has no {MANIFEST}; give a folder like "
            "runs/<name>/checkpoints/step_000010"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise UserError(
            f"{folder / MANIFEST} is damaged ({error}); resume from an earlier checkpoint"
        ) from None


def _identity(config: RunConfig) -> dict[str, Any]:
    """What the stored state depends on, as JSON would give it back, by dotted key."""
    tree = {
        "seed": config.seed,
        "model": config.model.model_dump(mode="json"),
        "learner": config.learner.model_dump(mode="json", exclude=OPERATIONAL),
    }
    return dict(_flat(tree, ""))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _sha256(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _fingerprints(folder: Path) -> dict[str, list[int]]:
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    )
    with ThreadPoolExecutor() as pool:
        prints = pool.map(_fingerprint, (folder / name for name in names))
        return dict(zip(names, prints, strict=True))


def _fingerprint(path: Path) -> list[int]:
    size, checksum = 0, 0
    with path.open("rb") as file:
        while block := file.read(2**22):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return [size, checksum]


def _rank_file(rank: int) -> str:
    return f"rank_{rank:04d}.pt"
