"""The host's end of a zygote: sends orders, reads reports, believes nothing.

A `Channel` carries bytes to and from one zygote, whatever it runs in. Every size in a report is
checked against what was ordered before a byte of it is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

from sandbox.guest import SENT_IN_ORDER, layout
from sandbox.guest.layout import (
    LENGTH,
    READY,
    RECORD,
    REPORT,
    SIZE,
    Claim,
    Killed,
    Phase,
    RunOrder,
    Settings,
)
from stepcoder_dist.errors import SandboxFault

START_TIMEOUT_S = 60.0
GRACE_S = 30.0
"""What a run may take beyond its tests' wall-clock limits before the container is given up."""
SPARE_INPUT_BYTES = 32 * 2**20
"""Bytes of inputs that a container has memory for in addition to a program's own."""
STARVED_SHARE = 0.1
"""Of its wall time that a program spent waiting for a processor, to be given another try."""
_MOST_STRUCTURE_BYTES = 64 * 2**20

BOOT = """
import json, os, sys, types
def take(count):
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data
sent = json.loads(take(int.from_bytes(take(4), "little")))
for name in ("sandbox", "sandbox.guest"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, source in sent["modules"]:
    module = types.ModuleType("sandbox.guest." + name)
    sys.modules[module.__name__] = module
    parent, _, last = module.__name__.rpartition(".")
    setattr(sys.modules[parent], last, module)
    exec(compile(source, "<" + module.__name__ + ">", "exec"), module.__dict__)
sys.modules["sandbox.guest.zygote"].main(sent["settings"])
"""
"""`python -c` of this reads the guest from standard input: the image holds none of our code."""


class Channel(Protocol):
    """Bytes to and from a zygote. Raises `SandboxFault` when it is gone or too slow."""

    def send(self, data: bytes | memoryview) -> None: ...

    def receive(self, count: int, timeout_s: float) -> bytes:
        """Return exactly `count` bytes."""
        ...

    def silent(self) -> bool:
        """Return whether nothing has come that was not asked for, not even the end."""
        ...

    def close(self) -> None: ...


class Runner(Protocol):
    """Runs one child somewhere; `quiet`: with the machine to itself. Raises `SandboxFault`."""

    def __call__(
        self, order: RunOrder, blobs: list[bytes], *, quiet: bool = False
    ) -> RunReport: ...


@dataclass(frozen=True, slots=True)
class TestRecord:
    """What the child wrote down about one test."""

    __test__ = False  # pytest: not a class of tests

    begun: bool
    done: bool
    claim: Claim
    cpu_ns: int
    detail: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of one run."""

    status: int
    """Exit code, or −signal."""
    killed: Killed
    last_timed: int
    """The last test that the zygote gave time of its own; −1: one limit did for all so far."""
    clean: bool
    """False: something of the run is left, the container must go."""
    memory_kills: int
    cpu_ns: int
    wall_ns: int
    waited_ns: int
    """How long it waited for a processor, where it was killed for wall time; −1: not known."""
    peak_bytes: int
    phase: Phase
    meddled: bool
    scratch_bytes: int
    structure: bytes | None
    """Sealed before the program's first line; None where it never came that far."""
    records: list[TestRecord]
    answer_sizes: list[int]
    answers: list[bytes | None]
    """None for one over the output limit."""
    lines: memoryview
    """Tests × `layout.stride(lines)` bytes."""

    @classmethod
    def lost_for_memory(cls, order: RunOrder) -> RunReport:
        """Of a run whose container the kernel has ended for memory, zygote and all."""
        tests = order.tests
        first = TestRecord(begun=True, done=False, claim=Claim.FINE, cpu_ns=0, detail="")
        return cls(
            status=-signal.SIGKILL,
            killed=Killed.NO,
            last_timed=-1,
            clean=False,
            memory_kills=1,
            cpu_ns=0,
            wall_ns=0,
            waited_ns=0,
            peak_bytes=0,
            phase=Phase.RUNNING,
            meddled=True,
            scratch_bytes=0,
            structure=None,
            records=[first] + [dataclasses.replace(first, begun=False)] * (tests - 1),
            answer_sizes=[0] * tests,
            answers=[None] * tests,
            lines=memoryview(bytes(tests * layout.stride(order.lines))),
        )

    @property
    def starved(self) -> bool:
        """Whether it was killed for wall time that it could not use: the machine was busy.

        A program that only sleeps waits for no processor; one that is killed for wall time and
        would not have been alone has waited for most of it.
        """
        if self.killed is not Killed.WALL:
            return False
        if self.waited_ns < 0:  # then the machine's load is the best guess
            return os.getloadavg()[0] > (os.cpu_count() or 1)
        return self.waited_ns > self.wall_ns * STARVED_SHARE

    @property
    def last_begun(self) -> int:
        """The test that was running when the child ended; −1 where none had begun."""
        return max((i for i, record in enumerate(self.records) if record.begun), default=-1)


class GuestLink:
    """One zygote, from its first byte to its last."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def start(self, settings: Settings) -> tuple[int, ...]:
        """Send the guest; return its Python's version. Raises `SandboxFault`."""
        modules = [(n, _source(n)) for n in SENT_IN_ORDER]
        sent = {"modules": modules, "settings": json.dumps(dataclasses.asdict(settings))}
        data = json.dumps(sent).encode()
        self._channel.send(LENGTH.pack(len(data)) + data)
        greeting = self._channel.receive(len(READY), START_TIMEOUT_S)
        if greeting != READY:
            raise SandboxFault(f"the zygote said {greeting!r} instead of its greeting")
        (length,) = LENGTH.unpack(self._channel.receive(LENGTH.size, START_TIMEOUT_S))
        about = json.loads(self._channel.receive(length, START_TIMEOUT_S))
        return tuple(about["python"])

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport:
        """Run one child. Raises `SandboxFault` for no report in time, or no sense in it."""
        head = json.dumps(dataclasses.asdict(order)).encode()
        self._channel.send(LENGTH.pack(len(head)) + head)
        for blob in blobs:
            self._channel.send(blob)
        timeout_s = (order.tests + 1) * order.wall_s + GRACE_S
        return self._report(order, timeout_s)

    def _report(self, order: RunOrder, timeout_s: float) -> RunReport:
        take = self._channel.receive
        head = REPORT.unpack(take(REPORT.size, timeout_s))
        status, killed, clean, sealed, kills, at, cpu, wall, waited, peak, *rest = head
        structure_size, scratch = rest
        count = order.tests
        sizes = [SIZE.unpack(take(SIZE.size, GRACE_S))[0] for _ in range(count)]
        if structure_size > _MOST_STRUCTURE_BYTES or not -1 <= at < count:
            raise SandboxFault("a report makes no sense; the container is given up")
        block = take(layout.block_bytes(count), GRACE_S)
        lines = take(max(1, count * layout.stride(order.lines)), GRACE_S)
        structure = take(structure_size, GRACE_S)
        answers = [take(s, GRACE_S) if s <= order.output_bytes else None for s in sizes]
        try:
            return RunReport(
                status=status,
                killed=Killed(killed),
                last_timed=at,
                clean=bool(clean),
                memory_kills=kills,
                cpu_ns=cpu,
                wall_ns=wall,
                waited_ns=waited,
                peak_bytes=peak,
                phase=_phase(block[layout.PHASE]),
                meddled=bool(block[layout.MEDDLED]),
                scratch_bytes=scratch,
                structure=structure[layout.START.size :] if sealed else None,
                records=[_record(block, test) for test in range(count)],
                answer_sizes=sizes,
                answers=answers,
                lines=memoryview(lines),
            )
        except ValueError as error:
            raise SandboxFault(f"a report makes no sense ({error})") from None

    def alive(self) -> bool:
        """Between runs: False when the zygote has ended, or says what it should not."""
        return self._channel.silent()

    def close(self) -> None:
        self._channel.close()


def _phase(number: int) -> Phase:
    """A phase that does not exist was written by the program: it has been running."""
    return Phase(number) if number in _PHASES else Phase.RUNNING


def _record(block: bytes, test: int) -> TestRecord:
    """Read a test's record; the child could write anything into it."""
    begun, _, cpu, done, claim, length, _, detail = RECORD.unpack_from(
        block, layout.record_offset(test)
    )
    return TestRecord(
        begun=bool(begun),
        done=bool(done),
        claim=Claim(claim) if claim in _CLAIMS else Claim.FAILED,
        cpu_ns=cpu,
        detail=detail[: max(0, length)].decode("utf-8", "replace"),
    )


_CLAIMS = frozenset(Claim)
_PHASES = frozenset(Phase)


def _source(name: str) -> str:
    guest, parts = resources.files("sandbox.guest"), name.split(".")
    package = guest.joinpath(*parts)
    if package.is_dir():
        return package.joinpath("__init__.py").read_text(encoding="utf-8")
    return guest.joinpath(*parts[:-1], f"{parts[-1]}.py").read_text(encoding="utf-8")
