"""A program that fails costs little more than one that passes, and what is decided stays so."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator

import pytest
from guest_containers import BACKENDS, available
from sandbox_cases import call_tests, stdin_tests

from sandbox.backend import open_pool
from sandbox.seat import Seat
from stepcoder_dist.records import Outcome, TestSuite, Verdict

Judge = Callable[..., Verdict]

PASSED, WRONG, FAILED, LATE = (
    Outcome.PASSED,
    Outcome.WRONG_ANSWER,
    Outcome.RUNTIME_ERROR,
    Outcome.TIMEOUT,
)


@pytest.fixture(scope="module", params=BACKENDS)
def where(request, tmp_path_factory) -> Iterator[dict[str, str]]:
    with available(request.param, tmp_path_factory.mktemp("guests"), 1) as found:
        yield found


@pytest.fixture
def judge(where) -> Iterator[Judge]:
    """Judge a program in a pool of its own, in which a busy machine hardly ends a test."""

    async def judged(source: str, tests: TestSuite, limits: dict[str, float]) -> Verdict:
        few = {"containers": 1, "cpu_limit_s": 0.5, "wall_limit_s": 20, "memory_limit_mib": 128}
        async with open_pool(**(few | where | limits)) as pool:
            return await pool.judge(source, tests, problem_id="failing")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield lambda source, tests, **limits: asyncio.run(judged(source, tests, limits))


@pytest.fixture
def children(monkeypatch) -> list[int]:
    """How many tests each child was sent, in order."""
    sent: list[int] = []
    run = Seat.run

    def counted(self, order, blobs, *, quiet=False):
        sent.append(order.tests)
        return run(self, order, blobs, quiet=quiet)

    monkeypatch.setattr(Seat, "run", counted)
    return sent


SQUARES = stdin_tests(*((f"{n}\n", f"{n * n}\n") for n in range(6)))


@pytest.mark.parametrize(
    ("source", "outcomes"),
    [
        ("print(int(input()) + 2)\n", [WRONG, WRONG, PASSED, WRONG, WRONG, WRONG]),
        ("n = int(input())\nprint(n * n // (n - 3) * (n - 3))\n", None),
        ("print(undefined)\n", [FAILED] * 6),
        ("import sys\nprint(int(input()) ** 2)\nsys.exit(3)\n", [FAILED] * 6),
    ],
    ids=["wrong answers", "one exception", "exceptions", "exit codes"],
)
def test_a_program_that_fails_by_itself_is_judged_in_one_child(judge, children, source, outcomes):
    verdict = judge(source, SQUARES)
    seen = [test.outcome for test in verdict.tests]
    assert children == [6]
    assert seen == outcomes if outcomes else seen[3] is FAILED
    assert all(test.executed_lines for test in verdict.tests)


def test_a_program_that_loops_in_every_test_is_ended_after_two_of_them(judge, children):
    source = "n = int(input())\nwhile True:\n    n += 1\nprint(n)\n"
    verdict = judge(source, SQUARES)
    assert verdict.outcome is LATE
    assert [sorted(test.executed_lines) for test in verdict.tests] == [[1, 2, 3]] * 2 + [[]] * 4
    assert "processor time" in verdict.tests[1].detail
    assert verdict.tests[2].detail == "not run: the program's budget of 1 s was spent"
    assert children == [6, 5]


def test_the_budget_is_the_runs_own_where_it_is_given(judge, children):
    verdict = judge("while True:\n    pass\n", SQUARES, program_limit_s=0.4)
    assert [test.outcome for test in verdict.tests] == [LATE] * 6
    assert children == [6]


def test_a_loop_in_one_test_takes_its_limit_once_and_the_other_tests_are_run(judge, children):
    source = "n = int(input())\nwhile n == 2:\n    pass\nprint(n * n)\n"
    verdict = judge(source, SQUARES)
    assert [test.outcome for test in verdict.tests] == [PASSED, PASSED, LATE] + [PASSED] * 3
    assert children == [6, 3]


def test_a_program_that_sleeps_for_ever_is_ended_after_two_tests_as_well(judge, children):
    verdict = judge("import time\ntime.sleep(1000)\n", SQUARES, wall_limit_s=2)
    assert [test.outcome for test in verdict.tests] == [LATE] * 6
    assert "wall-clock" in verdict.tests[1].detail
    assert children == [6, 5]


def test_a_right_program_is_never_cut_off_however_long_its_tests_take_together(judge):
    source = (
        "import time\n"
        "n = int(input())\n"
        "end = time.process_time() + 0.3\n"
        "while time.process_time() < end:\n"
        "    pass\n"
        "print(n * n)\n"
    )
    assert judge(source, SQUARES).outcome is PASSED


def test_the_time_of_wrong_answers_counts_and_the_passes_before_are_kept(judge):
    source = (
        "import time\n"
        "def f(n):\n"
        "    end = time.process_time() + (0.4 if n else 0)\n"
        "    while time.process_time() < end:\n"
        "        pass\n"
        "    return n * (n > 1)\n"
    )
    tests = call_tests("f", *(([n], n + (n > 0)) for n in range(7)))
    verdict = judge(source, tests)
    assert [test.outcome for test in verdict.tests] == [PASSED] + [WRONG] * 3 + [LATE] * 3


def test_a_test_that_lacks_memory_is_decided_alone(judge, children):
    source = "n = int(input())\nx = [0] * 10**9 if n == 3 else []\nprint(n * n)\n"
    verdict = judge(source, SQUARES)
    wanted = [PASSED] * 6
    wanted[3] = Outcome.OUT_OF_MEMORY
    assert [test.outcome for test in verdict.tests] == wanted
    assert children == [6, 1]
