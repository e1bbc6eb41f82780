"""Freed memory goes back to the system, where it is more than is worth keeping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepcoder_dist.host import free_memory

PIECES, BYTES = 2000, 2**16
FREED = PIECES * BYTES
BETWEEN_OTHERS = f"""
import ctypes
from stepcoder_dist.host.free_memory import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
pieces, between = [], []
for _ in range({PIECES}):
    pieces.append(libc.malloc({BYTES}))
    ctypes.memset(pieces[-1], 1, {BYTES})
    between.append(libc.malloc(2000))  # stays: no end of the heap is free
for piece in pieces:
    libc.free(piece)
before = resident()
print(give_back(4 * {FREED}), before - resident(), give_back({FREED} // 4), before - resident())
"""


def test_pieces_between_what_is_used_go_back_where_they_are_many():
    found = subprocess.run(
        [sys.executable, "-c", BETWEEN_OTHERS], capture_output=True, text=True, check=True
    )
    little, kept, much, returned = found.stdout.split()
    assert (little, much) == ("False", "True")
    assert int(kept) < FREED // 10
    assert int(returned) > FREED // 2


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(free_memory.ctypes, "CDLL", lambda _: object())
    assert not free_memory.give_back(0)


MEMINFO = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  400 kB\nHugePages_Total:  0\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


GROUP = ("memory.max", "memory.current", "inactive_file")
OLD_GROUP = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file")


def group(names: tuple[str, str, str], limit: object, used: int, cached: int) -> dict[str, str]:
    limit_file, usage_file, cached_name = names
    return {
        f"sys/fs/cgroup/{limit_file}": f"{limit}\n",
        f"sys/fs/cgroup/{usage_file}": f"{used}\n",
        str(Path("sys/fs/cgroup", usage_file).with_name("memory.stat")): (
            f"anon 7\n{cached_name} {cached}\n"
        ),
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (1000 * 1024, 400 * 1024)),
        (group(GROUP, "max", 5, 0), (1000 * 1024, 400 * 1024)),
        (group(GROUP, 300_000, 250_000, 20_000), (300_000, 70_000)),
        (group(GROUP, 300_000, 310_000, 0), (300_000, 0)),
        (group(OLD_GROUP, 2**63 - 1, 250_000, 0), (1000 * 1024, 400 * 1024)),
        (group(OLD_GROUP, 300_000, 250_000, 20_000), (300_000, 70_000)),
    ],
    ids=["no group", "no limit", "limit", "over its limit", "version 1, no limit", "version 1"],
)
def test_memory_is_of_the_control_group_where_that_has_less(
    tmp_path: Path, files: dict[str, str], expected: tuple[int, int]
):
    assert free_memory.machine_memory(machine(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("free", "left", "given"),
    [
        (2**30, 0, False),
        (2**30 + 1, 0, True),
        (3 * 2**30, 8 * 2**30, False),
        (5 * 2**30, 8 * 2**30, True),
    ],
)
def test_what_is_kept_depends_on_what_the_machine_has_left(
    monkeypatch: pytest.MonkeyPatch, free: int, left: int, given: bool
):
    trimmed: list[object] = []

    class Libc:
        @staticmethod
        def mallinfo2() -> SimpleNamespace:
            return SimpleNamespace(fordblks=free)

        malloc_trim = trimmed.append

    monkeypatch.setattr(free_memory.ctypes, "CDLL", lambda _: Libc)
    monkeypatch.setattr(free_memory, "machine_memory", lambda: (16 * 2**30, left))
    assert free_memory.give_back() is given
    assert len(trimmed) == given
