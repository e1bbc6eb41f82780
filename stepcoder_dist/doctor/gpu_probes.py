"""Probes of the GPUs: how many there are, their memory, their driver."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.doctor import memory_fit, model_shape
from stepcoder_dist.doctor.examination import Finding, Mark
from stepcoder_dist.run.reservations import demand

OLDEST_DRIVER = 580
"""Of CUDA 13, which torch of deploy/locks/gpu.txt is built for (NVIDIA, CUDA 13.0 release notes,
table 3)."""
DRIVER_FIX = "upgrade the NVIDIA driver, or install a torch and a vLLM built for an older CUDA"


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU as nvidia-smi lists it."""

    name: str
    mib: int
    capability: str
    driver: str


def cards() -> list[Card]:
    """Return the GPUs of this machine, by NVIDIA's own tool; empty without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = "--query-gpu=name,memory.total,compute_cap,driver_version"
    done = subprocess.run(  # noqa: S603 (a fixed command)
        [tool, query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    rows = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 3]  # noqa: PLR2004
    return [Card(name, int(mib), capability, driver) for name, mib, capability, driver in rows]


def too_old(found: Sequence[Card]) -> str:
    """Return what is wrong with the driver of these GPUs; empty where it serves."""
    for card in found:
        major = card.driver.partition(".")[0]
        if major.isdecimal() and int(major) < OLDEST_DRIVER:
            return f"driver {card.driver} is older than {OLDEST_DRIVER}, which CUDA 13 needs"
    return ""


def gpus(run: dict[str, Any], *, local: bool) -> list[Finding]:
    """Compare the GPUs that nvidia-smi lists with how many the run reserves and their memory.

    `local` False: the run goes to a cluster, and this machine need not have any.
    """
    config = RunConfig.model_validate(run)
    asked = demand(config).get("GPU", 0.0)
    asks = f"; the run asks for {asked:g}" if asked else "; the run asks for none"
    needs = local and asked > 0
    found = cards()
    if not found:
        seen = f"none (nvidia-smi lists none){asks}"
        if not needs:
            return [Finding("GPU", Mark.WORKS, seen)]
        fix = "install the NVIDIA driver (nvidia-smi), or use a run file without GPUs"
        return [Finding("GPU", Mark.FAILS, seen, fix)]
    listed = "; ".join(f"{c.name}, {c.mib:,} MiB, compute {c.capability}" for c in found)
    seen = f"{len(found)}: {listed}; driver {found[0].driver}{asks}"
    if needs and len(found) < asked:
        fix = "lower number, ranks or num_gpus, or use a cluster"
        return [Finding("GPU", Mark.FAILS, seen, fix)]
    if needs and (old := too_old(found)):
        return [Finding("GPU driver", Mark.FAILS, old, DRIVER_FIX)]
    smallest = min(card.mib for card in found) / 1024
    return [Finding("GPU", Mark.WORKS, seen), *(_fits(config, smallest) if needs else [])]


def _fits(config: RunConfig, gib_each: float) -> list[Finding]:
    known = model_shape.find(config.model, (config.sft_folder,))
    if known is None:
        seen = "unknown what the run needs: the model is not here and [model.shape] is not set"
        return [Finding("GPU memory", Mark.CAUTION, seen)]
    complaints = memory_fit.complaints(config, known.shape, gib_each)
    split = [text.partition("; ") for text in complaints]
    return [Finding("GPU memory", Mark.FAILS, seen, fix) for seen, _, fix in split] or [
        Finding("GPU memory", Mark.WORKS, f"the estimate fits {gib_each:.1f} GiB")
    ]
