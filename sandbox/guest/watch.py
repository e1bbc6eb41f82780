"""The clocks of a run: wait for the program's end, or end it.

The zygote sleeps meanwhile. It wakes when a process has ended, when the host has gone, and when a
clock could have run out.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import Any

from sandbox.guest import run_tests, sweeping
from sandbox.guest.confining import MemoryWatch
from sandbox.guest.layout import RECORD, START, Killed, RunOrder, record_offset, running_test
from sandbox.guest.staging import Gone, drain
from sandbox.guest.tree_clock import CpuClock, TreeClock

_SOONEST_CHECK_S = 0.002
_OTHERS_S = 0.2
"""How exactly the time of all processes together is known, their ends included."""
_PROCESSORS = os.cpu_count() or 1


@dataclass(slots=True)
class Ended:
    """How the program's process ended."""

    status: int = 0
    """Exit code or −signal."""
    usage: Any = None
    killed: Killed = Killed.NO
    over_memory: bool = False
    """Whether the zygote killed it for its memory."""
    at: int = -1
    """The last test that got time of its own."""
    waited_ns: int = 0
    """How long it waited for a processor, where it was killed for wall time; −1: not known."""


def seconds(usage: Any) -> float:
    """Return the processor time of a reaped process and of the children that it waited for."""
    return float(usage.ru_utime + usage.ru_stime)


def sealed(structure: int) -> bool:
    """Return whether the child has described the program, and so begun to run it."""
    return fcntl.fcntl(structure, fcntl.F_GET_SEALS) == run_tests.SEALS


class Watch:
    """The clocks of one run; to be made before its first process."""

    def __init__(
        self,
        order: RunOrder,
        block: mmap.mmap,
        structure: int,
        *,
        contained: bool,
        watch_memory: bool = False,
    ) -> None:
        self._order = order
        self._block = block
        self._structure = structure
        self._contained = contained
        self._tree = TreeClock(contained=contained)
        self._memory = MemoryWatch(order.memory_bytes) if watch_memory else None
        self._started = time.monotonic_ns()
        self._begun, self._cpu_before = self._started, 0
        """When the test began that has time of its own, and what was used by then, in ns."""
        self._script_s = 0.0
        self._ended = Ended()

    def wait(self, pid: int, script: int | None, *, wake: int, host: int) -> Ended:
        """Wait for the end of the program's process, or end it. Raises `Gone`.

        A script that ends after the program is not waited for: nothing answers it any more.
        """
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(host, select.POLLRDHUP)
        clock = CpuClock(pid)
        script_clock = None if script is None else CpuClock(script)
        while True:
            left_s = self._left_s(pid, clock, script)
            over = self._ended.killed or self._ended.over_memory
            timeout_s = None if over else max(left_s, _SOONEST_CHECK_S)
            for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000):
                if descriptor == host:
                    raise Gone
                drain(wake)
            reaped = sweeping.reaped()
            if script in reaped:
                script_clock, self._script_s = None, seconds(reaped[script][1])
            elif script_clock is not None:
                self._script_s = script_clock.seconds()
            others = (usage for other, (_, usage) in reaped.items() if other != script)
            self._tree.reaped(sum(map(seconds, others)))
            if pid in reaped:
                self._ended.status, self._ended.usage = reaped[pid]
                if not self._ended.killed and self._used_too_much(pid, script):
                    self._ended.killed = Killed.CPU
                return self._ended

    def _left_s(self, pid: int, clock: CpuClock, script: int | None) -> float:
        """Return seconds in which no clock can run out; kill the program where one has."""
        order, ended = self._order, self._ended
        going_on = not (ended.killed or ended.over_memory)
        if going_on and self._memory is not None and self._memory.over():
            ended.over_memory = True
            os.kill(pid, signal.SIGKILL)
        while True:
            used_s = max(clock.seconds() - self._cpu_before / 1e9, self._script_s)
            if self._could_be_late() and not ended.killed:
                tree_s = self._tree.seconds(pid, script, self._script_s)
                used_s = max(used_s, tree_s - self._cpu_before / 1e9 - _OTHERS_S)
            wall_s = (time.monotonic_ns() - self._begun) / 1e9
            left_s = min(order.cpu_s - used_s, order.wall_s - wall_s)
            if left_s > 0 or ended.killed or ended.over_memory:
                return left_s if self._memory is None else min(left_s, self._memory.pause_s)
            latest = running_test(self._block, order.tests)
            if latest > ended.at:  # a new test: its clocks begin with it
                ended.at = latest
                self._begin(latest, clock)
                continue
            ended.killed = Killed.CPU if used_s >= order.cpu_s else Killed.WALL
            if ended.killed is Killed.WALL:
                run_ns = time.monotonic_ns() - self._started
                ended.waited_ns = sweeping.waited_ns(run_ns, contained=self._contained)
            os.kill(pid, signal.SIGKILL)

    def _begin(self, test: int, clock: CpuClock) -> None:
        """Take the time at which a test began: sealed for the first, else its record's."""
        if test == 0 and sealed(self._structure):
            self._begun, self._cpu_before = self._sealed_start()
            return
        begun, cpu_before, *_ = RECORD.unpack_from(self._block, record_offset(test))
        self._begun = min(max(begun, self._begun), time.monotonic_ns())
        self._cpu_before = min(cpu_before, int(clock.seconds() * 1e9))

    def _sealed_start(self) -> tuple[int, int]:
        begun, cpu_before = START.unpack(os.pread(self._structure, START.size, 0))
        return begun, cpu_before

    def _could_be_late(self) -> bool:
        """Return whether all processors together could have given a test its time by now."""
        passed_s = (time.monotonic_ns() - self._started) / 1e9
        return passed_s * _PROCESSORS > self._order.cpu_s

    def _used_too_much(self, pid: int, script: int | None) -> bool:
        """Return whether processes of the first test, all ended in time, used too much together."""
        if not self._could_be_late() or not sealed(self._structure):
            return False
        if running_test(self._block, self._order.tests) > 0:
            return False
        tree_s = self._tree.seconds(pid, script, self._script_s)
        return tree_s - self._sealed_start()[1] / 1e9 > self._order.cpu_s + _OTHERS_S
