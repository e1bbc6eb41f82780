"""The same programs have the same verdicts, idle and beside four times too many processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from mixed_programs import Mixed, mixed
from sandbox_cases import stdin_tests

from sandbox.backend import open_pool
from sandbox.containers.container import check_image, connect
from sandbox.seat import Seat
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome

SEED = 4
OVERLOAD = 4
LIMITS = {
    "containers": 2,
    "cpu_limit_s": 1.0,
    "wall_limit_s": 3.0,
    "memory_limit_mib": 128,
    "output_limit_mib": 1,
}


@contextlib.contextmanager
def overloaded(times: int = OVERLOAD) -> Iterator[None]:
    """So many endless processes for each processor."""
    endless = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(endless) for _ in range(times * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
        for process in busy:
            process.wait()


def flips(programs: list[Mixed], *, idle: int, busy: int) -> list[tuple[str, str, Outcome]]:
    """Every verdict that is not what it must be, over so many repeats of all programs."""

    async def once(pool: WorkerPool, state: str) -> list[tuple[str, str, Outcome]]:
        verdicts = await asyncio.gather(
            *(pool.judge(p.source, p.tests, problem_id=p.source) for p in programs)
        )
        return [
            (state, p.source, v.outcome)
            for p, v in zip(programs, verdicts, strict=True)
            if v.outcome is not p.outcome
        ]

    async def run() -> list[tuple[str, str, Outcome]]:
        async with open_pool(**LIMITS) as pool:
            found = [flip for _ in range(idle) for flip in await once(pool, "idle")]
            with overloaded():
                return found + [flip for _ in range(busy) for flip in await once(pool, "busy")]

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _engine() -> None:
    try:
        client = connect()
        check_image(client, SandboxConfig().image)
        client.close()
    except MissingEngine as error:
        pytest.skip(str(error))


@pytest.mark.docker
def test_no_verdict_flips_between_repeats_or_on_a_busy_machine():
    assert flips(mixed(60, seed=SEED), idle=2, busy=1) == []


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(3000)
def test_no_verdict_of_500_programs_flips_in_five_repeats_idle_and_five_busy():
    assert flips(mixed(500, seed=SEED), idle=5, busy=5) == []


ONCE = stdin_tests(("", "4\n"))
WORKS = (
    "import time\n"
    "while time.process_time() < 0.35:\n"
    "    pass\n"
    "print(4)\n"
)  # fmt: skip
SLEEPS = "import time\ntime.sleep(1e6)\n"


def runs_of(
    sources: list[str], monkeypatch, **limits: float
) -> tuple[list[Outcome], list[bool], float]:
    """Verdicts, which of the runs were in quiet, and seconds."""
    quiets: list[bool] = []
    run = Seat.run

    def counted(self, order, blobs, *, quiet=False):
        quiets.append(quiet)
        return run(self, order, blobs, quiet=quiet)

    monkeypatch.setattr(Seat, "run", counted)

    async def judged() -> tuple[list[Outcome], list[bool], float]:
        async with open_pool(**(LIMITS | {"containers": len(sources)} | limits)) as pool:
            began = time.monotonic()
            verdicts = await asyncio.gather(
                *(pool.judge(source, ONCE, problem_id="once") for source in sources)
            )
            return [v.outcome for v in verdicts], quiets, time.monotonic() - began

    return asyncio.run(judged())


@pytest.mark.docker
def test_what_had_to_wait_for_a_processor_is_run_once_more_when_the_others_have_ended(monkeypatch):
    count = 8 * (os.cpu_count() or 1)  # beside each other they need 2.8 s, alone 0.35 s
    outcomes, quiets, _ = runs_of([WORKS] * count, monkeypatch, wall_limit_s=2.0)
    assert outcomes == [Outcome.PASSED] * count
    assert 1 <= sum(quiets) <= count
    assert quiets.count(False) == count


@pytest.mark.docker
def test_what_sleeps_for_ever_is_a_time_out_at_once_beside_whatever(monkeypatch):
    with overloaded():
        outcomes, quiets, _ = runs_of([SLEEPS], monkeypatch, wall_limit_s=2.0)
    assert (outcomes, quiets) == ([Outcome.TIMEOUT], [False])


@pytest.mark.docker
def test_what_works_for_ever_costs_at_most_two_wall_limits(monkeypatch):
    with overloaded():
        outcomes, quiets, _ = runs_of(
            ["while True: pass\n"], monkeypatch, cpu_limit_s=1.9, wall_limit_s=2.0
        )
    assert outcomes == [Outcome.TIMEOUT]
    # once more in quiet only where the load kept a processor from it until the wall clock ended it
    assert quiets in ([False], [False, True])
