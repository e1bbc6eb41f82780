"""What a learner's checkpoint says about itself, and whether it is complete. Needs no torch.

So a driver can refuse a checkpoint before it starts a single process.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.config.counts import Counts, fixed_for_train
from stepcoder_dist.errors import UserError
from stepcoder_dist.host.files import atomic_file
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.records import WeightVersion

MANIFEST = "manifest.json"
_SECTIONS = ("seed", "model", "learner")
_OF_A_RANK = re.compile(r"rank_\d+\.pt")

Sums = dict[str, list[int]]
"""Path in the folder -> [bytes, CRC-32]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of `manifest.json`."""

    version: WeightVersion
    counters: dict[str, int]
    config: dict[str, Any]
    """What the stored state depends on, by dotted key."""
    config_sha256: str
    """Of `config`: to see at a glance that two checkpoints are of one config."""
    files: Sums

    @property
    def ranks(self) -> int:
        """Learner ranks that have written the checkpoint."""
        return sum(_OF_A_RANK.fullmatch(name) is not None for name in self.files)

    @property
    def divided(self) -> bool:
        """Whether each rank has written its share of the optimizer's state (ZeRO stages 1 to 3)."""
        return any(name.endswith("_optim_states.pt") for name in self.files)


def write(
    folder: Path,
    config: RunConfig,
    files: Sums,
    *,
    version: WeightVersion,
    counters: dict[str, int],
) -> None:
    """Describe the files of the folder, with the sums that their writers made."""
    identity = _identity(config)
    manifest = Manifest(
        version=version,
        counters=counters,
        config=identity,
        config_sha256=_sha256(identity),
        files=dict(sorted(files.items())),
    )
    atomic_file.write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=1))


def verify(
    folder: Path,
    config: RunConfig,
    question: Callable[[Counts], bool] = fixed_for_train,
    *,
    contents: bool = True,
) -> Manifest:
    """Read the manifest and check every file against it; without `contents`, its size only.

    Of the keys that it has, those that count for what `question` asks have to be as they are now.
    Raises `UserError` for a folder that is no checkpoint, is truncated or damaged, or comes from a
    run with other settings.
    """
    manifest = read(folder)
    for different in keys.differences(manifest.config, _identity(config), question):
        raise UserError(
            f"{folder} comes from another run: {different}; set it back, or start in a new run_dir"
        )
    divides = config.learner.zero_stage > 0 or config.model.dtype == "bfloat16"
    if manifest.files and manifest.divided != divides:
        there = "1, 2 or 3" if manifest.divided else "0"
        raise UserError(
            f"{folder} has learner.zero_stage = {there}, {config.learner.zero_stage} here; in "
            "float32 a run is not resumed from 0 at another stage, nor from another at 0: set it "
            "back"
        )
    found = _fingerprints(folder) if contents else _sizes(folder)
    for name, expected in manifest.files.items():
        seen_here = found.get(name, [])
        if not seen_here or seen_here != expected[: len(seen_here)]:
            seen = f"has {seen_here[0]} bytes" if seen_here else "is missing"
            raise UserError(
                f"{folder / name} is damaged: it {seen}, the manifest says {expected[0]} bytes and "
                f"CRC-32 {expected[1]:08x}; remove this checkpoint to resume from the one before it"
            )
    return manifest


def read(folder: Path) -> Manifest:
    """Read the manifest. Raises `UserError` for a folder without one, or with a damaged one."""
    try:
        fields = parsed((folder / MANIFEST).read_text(encoding="utf-8"))
        return Manifest(**fields)
    except FileNotFoundError:
        raise UserError(
            f"{folder} is no checkpoint: it has no {MANIFEST}; give a folder like "
            "runs/<name>/checkpoints/step_000010"
        ) from None
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{folder / MANIFEST} is damaged ({error}); "
            "remove this checkpoint to resume from the one before it"
        ) from None


def _identity(config: RunConfig) -> dict[str, Any]:
    """Return what the stored state depends on, by dotted key: all of RL, also of a warm start's.

    Of the sections that a rank alone acts on; run.json has the others.
    """
    counting = keys.counting(keys.values(config), fixed_for_train)
    return {key: value for key, value in counting.items() if key.partition(".")[0] in _SECTIONS}


def _sha256(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(str(path.relative_to(folder)) for path in files)


def _sizes(folder: Path) -> Sums:
    return {name: [(folder / name).stat().st_size] for name in _names(folder)}


def _fingerprints(folder: Path) -> Sums:
    names = _names(folder)
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
