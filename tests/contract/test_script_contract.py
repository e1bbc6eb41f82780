"""Assert scripts: the program cannot see, change or end what judges it."""

from __future__ import annotations

import pytest
from script_cases import (
    DOUBLES,
    FINDS_THE_SCRIPT,
    HOSTILE_SCRIPTED,
    REFUSED,
    SCRIPTS,
    script,
)

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.records import Outcome, TestSuite

KILLS_ALL = "kills what it can"
"""Outside of a container it could reach every process of the user's."""
RIGHT = "def f(n):\n    return n * 2\n"


def test_scripts_end_as_they_should(place):
    verdicts = place.judge_all([(source, tests) for source, tests, _ in SCRIPTS.values()])
    shown = {
        name: (v.outcome, v.detail if v.outcome is not wanted else "")
        for (name, (_, _, wanted)), v in zip(SCRIPTS.items(), verdicts, strict=True)
    }
    assert shown == {name: (wanted, "") for name, (_, _, wanted) in SCRIPTS.items()}


def test_a_script_is_one_test_whose_lines_are_those_that_its_calls_executed(place):
    source = "def f(n):\n    if n == 1:\n        return 0\n    return 2\n\ndef g():\n    return 1\n"
    verdict = place.judge(source, script("assert f(2) == 2\nassert f(3) == 2\n"))
    assert (verdict.tests_passed, len(verdict.tests)) == (1, 1)
    assert sorted(verdict.executed_lines) == [1, 2, 4, 6]
    assert verdict.coverage_trusted


def test_a_script_comes_after_the_tests_with_inputs_and_is_told_apart(place):
    both = TestSuite(
        inputs=([1], [2]),
        outputs=(2, 4),
        fn_name="f",
        test_code="assert f(3) == 7\n",
        entry_point="f",
    )
    verdict = place.judge(RIGHT, both)
    assert [t.outcome.value for t in verdict.tests] == ["passed", "passed", "wrong_answer"]
    assert verdict.detail == "test 3: AssertionError (line 1: assert f(3) == 7)"


def test_a_failure_is_told_with_the_line_that_failed(place):
    wrong, raised = place.judge_all(
        [
            ("def f(n):\n    return n\n", script("assert f(1) == 1\nassert f(2) == 3, 'two'\n")),
            ("def f(n):\n    return {}[n]\n", DOUBLES),
        ]
    )
    assert wrong.detail == "test 1: AssertionError: two (line 2: assert f(2) == 3, 'two')"
    assert raised.outcome is Outcome.RUNTIME_ERROR
    assert raised.detail.startswith("test 1: KeyError: ")
    assert raised.detail.endswith(" (line 2)")


@pytest.mark.parametrize("name", REFUSED)
def test_a_script_that_no_program_can_pass_is_refused(place, name):
    with pytest.raises(ProblemError, match="its test_code"):
        place.judge(RIGHT, REFUSED[name])


def test_a_hostile_program_does_not_pass_a_script_and_hurts_nobody_after_it(place):
    hostile = {n: a for n, a in HOSTILE_SCRIPTED.items() if place.contained or n != KILLS_ALL}
    attacks = place.judge_all(list(hostile.values()))
    shown = dict(zip(hostile, (v.tests_passed for v in attacks), strict=True))
    assert shown == dict.fromkeys(hostile, 0)
    after = place.judge_all([(RIGHT, DOUBLES)] * 2)
    assert [(v.outcome.value, v.detail) for v in after] == [("passed", "")] * 2


@pytest.mark.parametrize("name", FINDS_THE_SCRIPT)
def test_a_program_finds_nothing_of_the_script(place, name):
    if not place.contained:
        pytest.skip("plain processes are no security boundary")
    assert place.judge(FINDS_THE_SCRIPT[name], DOUBLES).tests_passed == 0
