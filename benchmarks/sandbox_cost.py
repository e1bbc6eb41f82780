"""Where the time goes that one trivial program takes in the sandbox.

    python benchmarks/sandbox_cost.py [--programs 400] [--ray] [--image NAME]

One warm container, one program of five tests at a time. The guest is sent with a clock at its
borders; as the container shares the host's monotonic clock, the steps add up to the whole. Prints
the median of each step, and the processor time of everybody who takes part.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import mmap
import os
import resource
import statistics
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sandbox import guest_link, judging
from sandbox.containers.container import Container, connect
from sandbox.containers.container_pool import ContainerPool
from sandbox.guest.layout import RunOrder
from sandbox.guest_link import RunReport
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import Limits, Outcome, TestSuite

TRIVIAL = "n = int(input())\nif n > 2:\n    n += 1\nprint(n)\n"
TESTS = TestSuite(inputs=tuple(f"{n}\n" for n in range(5)), outputs=("0", "1", "2", "4", "5"))
WARM_UP = 20

CLOCKS = """
def _with_clocks():
    import struct
    from sandbox.guest import staging as staging_module
    clock, errors, fork = mmap.mmap(-1, 4096), os.dup(2), os.fork
    now = time.monotonic_ns

    def stamp(place, value=None):
        struct.pack_into("<Q", clock, 8 * place, now() if value is None else value)

    def wrap(owner, name, before=None, after=None):
        inner = getattr(owner, name)
        def wrapped(*given, **named):
            if before is not None and not (name == "_test" and given[1]):
                stamp(before)
            try:
                return inner(*given, **named)
            finally:
                if after is not None:
                    stamp(after)
        setattr(owner, name, wrapped)

    def forked():
        stamp(2)
        pid = fork()
        stamp(3 if pid else 4)
        return pid

    os.fork = forked
    wrap(staging_module.Staging, "numbers", after=0)
    wrap(_Run, "__init__", after=1)
    wrap(_Run, "_give_up_rights", after=5)
    wrap(run_tests._Child, "_describe", before=6, after=7)
    wrap(run_tests._Child, "_test", before=8, after=9)  # `before` the first of them
    watch, report = _Run._watch, _Run._report

    def watched(*given):
        status, usage, killed, at = watch(*given)
        stamp(10)
        stamp(14, usage.ru_minflt)
        stamp(15, int(usage.ru_utime * 1e9))
        stamp(16, int(usage.ru_stime * 1e9))
        return status, usage, killed, at

    def reported(*given):
        report(*given)
        os.write(errors, clock[: 8 * 17].hex().encode() + b"\\n")

    _Run._watch, _Run._report = watched, reported
    wrap(sweeping, "kill_everything", after=11)
    wrap(sweeping, "empty", after=12)
_with_clocks()
"""
"""Appended to the zygote: 0…12 are instants, 14…16 the child's page faults and processor time."""

STEPS = (
    ("host: check, pack", "judge", "sent"),
    ("protocol: order to the zygote", "sent", 0),
    ("zygote: shared memory, files in memory", 0, 1),
    ("zygote: program and inputs into them", 1, 2),
    ("fork, until the child runs", 2, 4),
    ("child: limits, give up rights", 4, 5),
    ("child: compile", 5, 6),
    ("child: AST, line structure, traits", 6, 7),
    ("child: tracer, freeze", 7, 8),
    ("child: the five tests", 8, 9),
    ("child: exit, until the zygote has seen it", 9, 10),
    ("zygote: kill what is left", 10, 11),
    ("zygote: empty the folders", 11, 12),
    ("zygote: report, and its way to the host", 12, "received"),
    ("host: read structure, compare", "received", "judged"),
)


@dataclasses.dataclass
class Clocked:
    """A container whose guest tells what time it was."""

    container: Container
    instants: list[dict[int | str, int]] = dataclasses.field(default_factory=list)
    current: dict[int | str, int] = dataclasses.field(default_factory=dict)

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport:
        self.current["sent"] = time.monotonic_ns()
        report = self.container.run(order, blobs)
        self.current["received"] = time.monotonic_ns()
        self._take_stamps()
        return report

    def judge(self, limits: Limits) -> None:
        self.current = {"judge": time.monotonic_ns()}
        verdict = judging.judge(self.run, TRIVIAL, TESTS, limits)
        self.current["judged"] = time.monotonic_ns()
        assert verdict.outcome is Outcome.PASSED, verdict
        self.instants.append(self.current)

    def _take_stamps(self) -> None:
        """The guest's words come after its report, so they are read with the next one."""
        channel: Any = self.container._link._channel  # noqa: SLF001
        words = channel._words.strip().splitlines()  # noqa: SLF001
        channel._words = b""  # noqa: SLF001
        if words and self.instants:
            stamps = struct.unpack("<17Q", bytes.fromhex(words[-1].decode()))
            self.instants[-1] |= dict(enumerate(stamps))


def process_ticks() -> dict[str, float]:
    """Processor seconds so far of the engine, the shims, and this process."""
    found = {"engine and shims": 0.0}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "comm").read_text().strip()
            if name in {"dockerd", "containerd", "containerd-shim"}:
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                ticks = int(words[11]) + int(words[12])
                found["engine and shims"] += ticks / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    own = resource.getrusage(resource.RUSAGE_SELF)
    return found | {"host process": own.ru_utime + own.ru_stime}


def zygote_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def fault_us() -> float:
    """What it costs to write to a page that is shared with a parent: the least of some tries."""
    pages = 4096
    memory = mmap.mmap(-1, pages * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[:] = b"\1" * len(memory)
    tries = []
    for _ in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            begun = time.perf_counter_ns()
            for page in range(pages):
                memory[page * mmap.PAGESIZE] = 2
            copied = time.perf_counter_ns()
            for page in range(pages):
                memory[page * mmap.PAGESIZE] = 3
            again = time.perf_counter_ns()
            os.write(writer, struct.pack("<q", (copied - begun) - (again - copied)))
            os._exit(0)
        tries.append(struct.unpack("<q", os.read(reader, 8))[0] / pages / 1000)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    return min(tries)


def guest_with_clocks() -> None:
    plain: Callable[[str], str] = guest_link._source  # noqa: SLF001

    def source(name: str) -> str:
        return plain(name) + (CLOCKS if name == "zygote" else "")

    guest_link._source = source  # type: ignore[assignment]  # noqa: SLF001


async def pool_overhead_us(config: SandboxConfig, programs: int) -> float:
    """What queue, event loop and thread add to a judgement."""
    taken = []
    async with ContainerPool(config) as pool:
        for turn in range(WARM_UP + programs):
            begun = time.perf_counter()
            verdict = await pool.judge(TRIVIAL, TESTS, problem_id="trivial")
            if turn >= WARM_UP:
                taken.append((time.perf_counter() - begun) * 1e6 - verdict.wall_ms * 1e3)
    return statistics.median(taken)


async def ray_overhead_us(config: SandboxConfig, programs: int) -> float:
    """What an actor's process and Ray's trip add, the pool's part included."""
    import ray

    from sandbox.pool.executor_actor import ExecutorActor

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    actor: Any = ray.remote(ExecutorActor).remote("sandbox-0", config)
    await actor.start.remote("docker")
    tests = ray.put(TESTS)
    taken = []
    for turn in range(WARM_UP + programs):
        begun = time.perf_counter()
        verdict = await actor.judge.remote(TRIVIAL, tests, "trivial")
        if turn >= WARM_UP:
            taken.append((time.perf_counter() - begun) * 1e6 - verdict.wall_ms * 1e3)
    await actor.close.remote()
    ray.shutdown()
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--ray", action="store_true", help="the trip to a Ray actor as well")
    parser.add_argument("--image", default="stepcoder-sandbox:latest")
    chosen = parser.parse_args()
    config = SandboxConfig(containers=1, image=chosen.image)
    rows: list[tuple[str, float]] = []
    pool_us = asyncio.run(pool_overhead_us(config, chosen.programs))
    ray_us = asyncio.run(ray_overhead_us(config, chosen.programs)) if chosen.ray else None
    guest_with_clocks()
    client = connect()
    clocked = Clocked(Container(client, chosen.image, config.limits))
    try:
        for _ in range(WARM_UP):
            clocked.judge(config.limits)
        pid = client.containers.get(clocked.container.name).attrs["State"]["Pid"]
        before, zygote_before = process_ticks(), zygote_seconds(pid)
        for _ in range(chosen.programs):
            clocked.judge(config.limits)
        spent = {who: seconds - before[who] for who, seconds in process_ticks().items()}
        spent["zygote"] = zygote_seconds(pid) - zygote_before
    finally:
        clocked.container.close()
        client.close()
    seen = [stamps for stamps in clocked.instants[WARM_UP:] if 0 in stamps]
    for name, start, end in STEPS:
        rows.append((name, statistics.median(s[end] - s[start] for s in seen) / 1e3))
    rows.append(("pool: queue, event loop, thread", pool_us))
    if ray_us is not None:
        rows.append(("Ray: actor and trip", ray_us - pool_us))
    faults = statistics.median(s[14] for s in seen)
    child_ms = {
        "child, user": statistics.median(s[15] for s in seen) / 1e6,
        "child, kernel": statistics.median(s[16] for s in seen) / 1e6,
    }
    show(rows, child_ms | {who: s * 1e3 / chosen.programs for who, s in spent.items()}, faults)


def show(rows: list[tuple[str, float]], processor: dict[str, float], faults: float) -> None:
    whole = sum(us for _, us in rows)
    table = Table(title="one trivial program of five tests, medians")
    for column in ("step", "µs", "share"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, us in rows:
        table.add_row(name, f"{us:.0f}", f"{us / whole:.0%}")
    table.add_section()
    table.add_row("all of it", f"{whole:.0f}", "")
    table.add_section()
    for who, ms in processor.items():
        table.add_row(f"processor time: {who}", f"{1000 * ms:.0f}", "")
    cost = fault_us()
    table.add_row(f"of it {faults:.0f} page faults of the child", f"{faults * cost:.0f}", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
