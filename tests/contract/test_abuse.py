"""Hostile programs, one after another in one container: none passes, hurts, or leaves a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from executor_cases import call_tests, stdin_tests
from hostile_interpreter import FORGED_ANSWERS, FORGERS, answering
from hostile_programs import HOSTILE, HOSTILE_VALUES
from hostile_system import ENDS_ITS_CONTAINER, SYSTEM
from script_cases import FINDS_THE_SCRIPT, HOSTILE_SCRIPTED

from sandbox.container_pool import ContainerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite, Verdict

pytestmark = pytest.mark.docker

SECRET = stdin_tests(("1 2 3\n", "SECRET-4f9a21\n"))
TWO_ITEMS = call_tests("f", ([0], [1, 2]))

CORPUS: dict[str, tuple[str, TestSuite]] = {
    **{name: (source, SECRET) for name, source in (HOSTILE | FORGERS | SYSTEM).items()},
    **{f"returns: {name}": (source, TWO_ITEMS) for name, source in HOSTILE_VALUES.items()},
    **{f"answers: {name}": (answering(d), TWO_ITEMS) for name, d in FORGED_ANSWERS.items()},
    **{f"script: {name}": attack for name, attack in HOSTILE_SCRIPTED.items()},
}
"""Finding a script's text has a test of its own (`FINDS_THE_SCRIPT`)."""

LOOKING = """
import os, random, sys
left = [n for d in ("/tmp", "/dev/shm") for n in os.listdir(d)]
own = ("1", str(os.getpid()))
others = [p for p in os.listdir("/proc") if p.isdigit() and p not in own]
sockets = [line for line in open("/proc/net/unix")][1:] + [line for line in open("/proc/net/tcp")][1:]
print(left, others, sockets, random.__file__.startswith("/tmp"), len(os.listdir("/proc/self/fd")))
"""


class Cell:
    """One container, and how often it broke or was replaced."""

    def __init__(self, pool: ContainerPool, runner: asyncio.Runner) -> None:
        self.pool, self.runner = pool, runner
        self.clean = self.judge(LOOKING, SECRET).detail

    def judge(self, source: str, tests: TestSuite) -> Verdict:
        return self.runner.run(self.pool.judge(source, tests))


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    config = SandboxConfig(
        containers=1,
        cpu_limit_s=0.5,
        wall_limit_s=1.5,
        memory_limit_mib=128,
        output_limit_mib=1,
        attempts=2,
    )
    with asyncio.Runner() as runner:
        try:
            pool = ContainerPool(config)
        except MissingEngine as error:
            pytest.skip(str(error))
        runner.run(pool.start())
        yield Cell(pool, runner)
        runner.run(pool.close())


def test_the_corpus_is_large():
    assert len(CORPUS) + len(FINDS_THE_SCRIPT) >= 60


@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_program_does_not_pass_and_leaves_nothing_in_its_container(cell, name):
    faults, recycled = cell.pool.stats.faults, cell.pool.stats.recycled
    attack = cell.judge(*CORPUS[name])
    assert (attack.outcome is Outcome.PASSED, attack.tests_passed) == (False, 0)
    # within the limits of the attack itself, in the container that it had
    after = cell.judge("print(int(input()) + 1)\n", stdin_tests(("1", "2"), ("2", "3")))
    assert (after.outcome, after.detail) == (Outcome.PASSED, "")
    assert cell.judge(LOOKING, SECRET).detail == cell.clean
    assert cell.pool.stats.faults == faults
    assert cell.pool.stats.recycled - recycled == (name in ENDS_ITS_CONTAINER)
