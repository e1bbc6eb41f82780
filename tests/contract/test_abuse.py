"""Hostile programs, one after another in one container: none passes, hurts, or leaves a trace."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator

import pytest
from hostile_corpus import CONFIG, CORPUS, LOOKING, NEEDS_A_CONTAINER, SECRET, SLOW
from hostile_programs import HOSTILE
from hostile_system import ENDS_ITS_CONTAINER
from sandbox_cases import stdin_tests
from script_cases import FINDS_THE_SCRIPT

from sandbox.containers.container_pool import ContainerPool
from sandbox.process_pool import ProcessPool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite, Verdict


class Cell:
    """One place for one program at a time, and what a program finds there."""

    def __init__(self, pool: WorkerPool, runner: asyncio.Runner, looking: str) -> None:
        self.pool, self.runner, self.looking = pool, runner, looking
        self.clean = self.look()

    def look(self) -> str:
        return self.judge(self.looking, SECRET).detail

    def judge(self, source: str, tests: TestSuite) -> Verdict:
        return self.runner.run(self.pool.judge(source, tests, problem_id="abuse"))


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with asyncio.Runner() as runner:
        try:
            pool = ContainerPool(CONFIG)
        except MissingEngine as error:
            pytest.skip(str(error))
        runner.run(pool.start())
        yield Cell(pool, runner, LOOKING)
        runner.run(pool.close())


@pytest.fixture(scope="module")
def plain_cell() -> Iterator[Cell]:
    with asyncio.Runner() as runner, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = ProcessPool(CONFIG)
        runner.run(pool.start())
        yield Cell(pool, runner, "import os\nprint(os.listdir())\n")
        runner.run(pool.close())


def test_the_corpus_is_large():
    assert len(CORPUS) + len(FINDS_THE_SCRIPT) >= 60
    assert CORPUS.keys() >= SLOW | NEEDS_A_CONTAINER | ENDS_ITS_CONTAINER


@pytest.mark.docker
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long) if n in SLOW else n for n in CORPUS]
)
def test_a_hostile_program_does_not_pass_and_leaves_nothing_in_its_container(cell, name):
    faults, recycled = cell.pool.stats.faults, cell.pool.stats.recycled
    does_not_pass_and_hurts_nobody(cell, name)
    assert cell.pool.stats.faults == faults
    # whom the kernel ends when a container is out of memory is the kernel's choice
    assert cell.pool.stats.recycled - recycled <= (name in ENDS_ITS_CONTAINER)


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - NEEDS_A_CONTAINER))
def test_what_needs_no_container_to_be_stopped_does_not_pass_as_a_plain_process(plain_cell, name):
    does_not_pass_and_hurts_nobody(plain_cell, name)


SPEAKS_FOR_OTHERS = """
import os, struct, sys, time
frame = sys._getframe()
while not hasattr(frame.f_locals.get("self"), "_files"):
    frame = frame.f_back
files = frame.f_locals["self"]._files
def mark(place, done):
    if place >= len(files.inputs):
        return  # alone
    told = time.monotonic_ns(), time.process_time_ns(), 0, done, 0, 0, 0, b""
    struct.pack_into("<QQQBBhi400s", files.block, 16 + place * 432, *told)
while time.process_time() < 0.5:  # more than one test has, less than three have together
    mark(1 + (time.process_time() > 0.25), 0)
for place, (given, answer) in enumerate(zip(files.inputs, files.answers)):
    os.pwrite(answer, b"%d" % (int(os.pread(given, 9, 0)) + 1), 0)
    mark(place, 1)
{and_then}
os._exit(0)
"""
"""Right, but slower than it may be."""
_FORGETS_THE_OTHERS = "files.block[16 + 432:] = bytes(len(files.block) - 16 - 432)"


@pytest.mark.parametrize("and_then", ["", _FORGETS_THE_OTHERS])
def test_a_program_that_speaks_for_its_other_tests_does_not_get_their_time(plain_cell, and_then):
    tests = stdin_tests(("1", "2"), ("2", "3"), ("3", "4"))
    verdict = plain_cell.judge(SPEAKS_FOR_OTHERS.replace("{and_then}", and_then), tests)
    assert [test.outcome for test in verdict.tests] == [Outcome.TIMEOUT] * 3


BEGINS_LATE = """
import struct, sys, time
frame = sys._getframe()
while not hasattr(frame.f_locals.get("self"), "_files"):
    frame = frame.f_back
block = frame.f_locals["self"]._files.block
while time.process_time() < 0.45:  # once and a half of what it has
    struct.pack_into("<QQ", block, 16, time.monotonic_ns(), time.process_time_ns())
print(int(input()) + 1)
"""


def test_a_program_that_says_that_it_has_just_begun_gets_no_more_time(plain_cell):
    verdict = plain_cell.judge(BEGINS_LATE, stdin_tests(("1", "2")))
    assert verdict.outcome is Outcome.TIMEOUT


def does_not_pass_and_hurts_nobody(cell: Cell, name: str) -> None:
    attack = cell.judge(*CORPUS[name])
    assert (attack.outcome is Outcome.PASSED, attack.tests_passed) == (False, 0)
    # under the limits of the attack itself, in the place that it had
    after = cell.judge("print(int(input()) + 1)\n", stdin_tests(("1", "2"), ("2", "3")))
    assert (after.outcome, after.detail) == (Outcome.PASSED, "")
    assert cell.look() == cell.clean
