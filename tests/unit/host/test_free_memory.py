"""Freed memory goes back to the system, where it is more than is worth keeping."""

from __future__ import annotations

import subprocess
import sys

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
