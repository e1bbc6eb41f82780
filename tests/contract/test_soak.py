"""Thousands of programs, some hostile: right verdicts, flat memory, nothing left."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile_corpus import SECRET, TWO_ITEMS
from hostile_interpreter import FORGED_ANSWERS, FORGERS, answering
from hostile_programs import HOSTILE, HOSTILE_VALUES
from hostile_system import SYSTEM
from mixed_programs import mixed

from sandbox.backend import open_pool
from sandbox.containers.container import check_image, connect
from sandbox.containers.orphans import RUN_ID, RUN_LABEL
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite

HOSTILE_SHARE = 0.05
WARM_UP = 0.2
"""Share of the programs after which memory has to stay as it is."""
MORE_MEMORY = 16 * 2**20
LIMITS = {
    "containers": 2,
    "cpu_limit_s": 1.0,
    "wall_limit_s": 2.0,
    "memory_limit_mib": 128,
    "output_limit_mib": 1,
}
IN_FLIGHT = 16

Case = tuple[str, TestSuite, Outcome | None]
"""Outcome None: anything but a pass."""


def cases(count: int, *, seed: int) -> list[Case]:
    rng = random.Random(seed)
    attacks = [(source, SECRET) for source in (HOSTILE | FORGERS | SYSTEM).values()]
    attacks += [(source, TWO_ITEMS) for source in HOSTILE_VALUES.values()]
    attacks += [(answering(data), TWO_ITEMS) for data in FORGED_ANSWERS.values()]
    made: list[Case] = [(p.source, p.tests, p.outcome) for p in mixed(count, seed=seed)]
    for place in rng.sample(range(count), int(count * HOSTILE_SHARE)):
        made[place] = *rng.choice(attacks), None
    return made


def wrong(outcome: Outcome, expected: Outcome | None) -> bool:
    return outcome is Outcome.PASSED if expected is None else outcome is not expected


@dataclass(frozen=True)
class Held:
    """What the host process and the containers have at one moment."""

    memory_bytes: int
    zygote_bytes: list[int]
    descriptors: int
    threads: int

    @classmethod
    def now(cls, pool: WorkerPool) -> Held:
        gc.collect()
        workers = [seat._worker for seat in pool._seats if seat._worker is not None]
        zygotes = [pool._client.api.inspect_container(w.name)["State"]["Pid"] for w in workers]
        return cls(
            memory_bytes=resident_bytes(os.getpid()),
            zygote_bytes=[resident_bytes(pid) for pid in zygotes],
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            threads=len(list(Path("/proc/self/task").iterdir())),
        )


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def processes_below() -> set[int]:
    """This process's children; the engine's are not among them."""
    threads = Path("/proc/self/task").glob("*/children")
    return {int(pid) for file in threads for pid in file.read_text("ascii").split()}


def containers() -> list[str]:
    client = connect()
    label = f"{RUN_LABEL}={RUN_ID}"
    try:
        found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return [container.name for container in found]
    finally:
        client.close()


@pytest.fixture(autouse=True)
def _engine() -> None:
    try:
        client = connect()
        check_image(client, SandboxConfig().image)
        client.close()
    except MissingEngine as error:
        pytest.skip(str(error))


async def judged(pool: WorkerPool, some: list[Case]) -> list[tuple[str, Outcome]]:
    """Judge them, not all at once; return those that have a wrong verdict."""
    found, coming = [], iter(some)

    async def one_after_another() -> None:
        for source, tests, expected in coming:
            verdict = await pool.judge(source, tests, problem_id=source)
            if wrong(verdict.outcome, expected):
                found.append((source, verdict.outcome))

    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
    return found


def folders() -> list[Path]:
    """This process's own (`stepcoder_dist.host.scratch`)."""
    return list(Path(tempfile.gettempdir()).glob(f"stepcoder-*-{os.getpid()}-*"))


def soak(count: int) -> None:
    before = processes_below(), containers(), folders()
    everything = cases(count, seed=7)
    warm = int(count * WARM_UP)

    async def run() -> None:
        async with open_pool(**LIMITS) as pool:
            found = await judged(pool, everything[:warm])
            first = Held.now(pool)
            found += await judged(pool, everything[warm:])
            last = Held.now(pool)
            print(f"{count} programs: {first} -> {last}, {pool.stats}")
            assert found == []
            assert pool.stats.verdicts == count
            assert pool.stats.faults == 0
            assert last.memory_bytes < first.memory_bytes + MORE_MEMORY
            assert max(last.zygote_bytes) < min(first.zygote_bytes) + MORE_MEMORY
            # a leak would be one a program or a container; the SDK keeps some connections
            assert last.descriptors <= first.descriptors + 16
            assert last.threads <= first.threads

    asyncio.run(run())
    assert (processes_below(), containers(), folders()) == before


@pytest.mark.docker
@pytest.mark.timeout(300)
def test_hundreds_of_mixed_programs_are_judged_right_and_leave_nothing():
    # alone: memory that the tests before this one have fragmented grows by itself
    command = f"import sys; sys.path[:] = {sys.path!r}; import test_soak; test_soak.soak(400)"
    alone = subprocess.run(
        [sys.executable, "-c", command], check=False, capture_output=True, text=True, timeout=280
    )
    assert alone.returncode == 0, alone.stdout[-2000:] + alone.stderr[-4000:]
    assert alone.stdout.startswith("400 programs: ")


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_mixed_programs_are_judged_right_and_leave_nothing():
    soak(10_000)
