"""Where problems start and go, rule by rule. CCCS at length is in test_curriculum.py."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from stepcoder_dist import methods
from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.method import start_rules
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.method.start_rules.progress import Progress
from stepcoder_dist.records import Problem, TestSuite

IFS = "".join(f"if {i}:\n    pass\n" for i in range(9))
"""E = 9: stages 0, 1 and 2, which start at lines 0, 7 and 13."""


def problem(name: str = "p", reference: str = IFS) -> Problem:
    return Problem(
        problem_id=name,
        statement="",
        reference=reference,
        level="interview",
        tests=TestSuite(inputs=("",), outputs=("",)),
    )


def curriculum(kind: str, **config: object) -> Curriculum:
    settings = CurriculumConfig.model_validate({"kind": kind, **config})
    return Curriculum(settings, [problem()])


def walk(c: Curriculum, *groups: list[bool]) -> list[int]:
    """The stage before each group, and after the last."""
    stages = [c.start_point("p").stage]
    for passed in groups:
        c.record("p", stages[-1], passed)
        stages.append(c.start_point("p").stage)
    return stages


FAIL, SOME, ALL = [False, False], [False, True], [True, True]


def test_cccs_begins_at_the_easiest_stage_and_goes_down_when_it_is_mastered() -> None:
    # α = 0.5: ρ = 0.5, then 0.75 > 0.5
    assert walk(curriculum("cccs"), ALL, ALL, FAIL, ALL, ALL) == [2, 2, 1, 1, 1, 0]


def test_with_nothing_given_every_problem_stays_at_stage_0_whatever_its_reference() -> None:
    assert walk(curriculum("none"), FAIL, ALL) == [0, 0, 0]
    unreadable = Curriculum(CurriculumConfig(kind="none"), [problem(reference="if x\n")])
    assert unreadable.longest_start("p").line == 0


@pytest.mark.parametrize(("fixed", "stage", "line"), [(None, 2, 13), (1, 1, 7), (0, 0, 0)])
def test_a_fixed_stage_never_moves(fixed: int | None, stage: int, line: int) -> None:
    c = curriculum("fixed", fixed_stage=fixed)
    assert walk(c, ALL, ALL, ALL, FAIL) == [stage] * 5
    assert c.start_point("p").line == c.longest_start("p").line == line


def test_a_fixed_stage_that_a_problem_does_not_have_is_its_easiest() -> None:
    assert walk(curriculum("fixed", fixed_stage=7), ALL) == [2, 2]


def test_on_failure_gives_one_stage_more_after_each_failed_group_and_takes_it_back() -> None:
    c = curriculum("on_failure")
    assert walk(c, FAIL, FAIL, FAIL, SOME, ALL, FAIL) == [0, 1, 2, 2, 0, 0, 1]
    assert c.longest_start("p").stage == 2


EIGHT = "".join(f"a{i} = {i}\n" for i in range(9))
"""Nine lines: stages 0 … 8, of which stage s gives s lines."""


def test_adaback_halves_the_interval_in_which_the_length_lies_that_is_needed() -> None:
    settings = CurriculumConfig(kind="adaback", threshold=0.5)
    c = Curriculum(settings, [problem(reference=EIGHT)])
    # [0, 8]; [5, 8]; [5, 6]; closed at 5; opened to [0, 5]; [3, 5]; closed at 5; opened to [5, 8]
    groups = (SOME, ALL, ALL, ALL, FAIL, SOME, FAIL)
    assert walk(c, *groups) == [4, 6, 5, 5, 2, 4, 5, 6]
    assert c.start_point("p", 6).line == 7
    assert c.longest_start("p").stage == 8


def test_adaback_gives_lines_that_show_something_and_never_the_last() -> None:
    c = Curriculum(CurriculumConfig(kind="adaback"), [problem(reference="a\n\n  \nb\n\nc\n")])
    assert [c.start_point("p", stage).line for stage in (0, 1, 2)] == [0, 4, 6]
    with pytest.raises(ValueError, match="stage 3 of a problem with stages 0…2"):
        c.start_point("p", 3)


def test_own_prefix_gives_heads_of_the_first_own_program_that_passed_in_turn_with_nothing() -> None:
    c = Curriculum(CurriculumConfig(kind="own_prefix"), [problem(reference="if x\n")])
    own = "".join(f"b{i}\n" for i in range(8))
    assert (c.start_point("p").stage, c.longest_start("p").stage) == (0, 0)
    assert not c.record("p", 0, FAIL)
    c.record("p", 0, ALL, [own, "other\n"])
    stages = []
    for _ in range(7):
        stages.append(c.start_point("p").stage)
        c.record("p", stages[-1], ALL, ["other\n"])
    assert stages == [6, 0, 4, 0, 2, 0, 6]
    six = c.start_point("p", 6)
    assert own[: six.cut] == "b0\nb1\nb2\nb3\nb4\nb5\n"
    assert six.source == own
    assert c.start_point("p", 0).source == ""


def test_an_own_program_of_one_line_has_no_head() -> None:
    c = Curriculum(CurriculumConfig(kind="own_prefix"), [problem()])
    c.record("p", 0, ALL, ["print(1)\n"])
    assert c.start_point("p").stage == 0


def test_on_failure_of_a_problem_without_conditionals_gives_nothing() -> None:
    c = Curriculum(CurriculumConfig(kind="on_failure"), [problem(reference="print(1)\n")])
    assert walk(c, FAIL, FAIL) == [0, 0, 0]


@pytest.mark.parametrize("kind", methods.START_RULES)
@given(
    easiest=st.integers(0, 6),
    fixed=st.none() | st.integers(0, 9),
    history=st.lists(st.lists(st.booleans(), max_size=4), max_size=30),
)
def test_no_rule_leaves_a_problems_stages_nor_what_it_says_is_its_highest(
    kind: str, easiest: int, fixed: int | None, history: list[list[bool]]
) -> None:
    config = CurriculumConfig.model_validate({"kind": kind, "fixed_stage": fixed})
    rule = start_rules.rule(kind)
    at = Progress(rule.first(easiest, config))
    for passed in history:
        assert 0 <= at.stage <= rule.highest(easiest, config) <= easiest
        assert 0 <= at.average <= 1
        assert rule.after(at, [], easiest, config) == at
        at = rule.after(at, passed, easiest, config)


@pytest.mark.parametrize("kind", methods.START_RULES)
@given(history=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), max_size=20))
def test_a_run_that_is_saved_and_loaded_after_every_group_is_the_run_that_never_stopped(
    kind: str, history: list[list[bool]]
) -> None:
    run, resumed = curriculum(kind), curriculum(kind)
    for passed in history:
        for one in (run, resumed):
            one.record("p", one.start_point("p").stage, passed, [EIGHT] * sum(passed))
        saved = json.dumps(resumed.state_dict())
        resumed = curriculum(kind)
        resumed.load_state_dict(json.loads(saved))
        assert resumed.state_dict() == run.state_dict()


@pytest.mark.parametrize("kind", methods.START_RULES)
def test_outcomes_of_another_stage_are_ignored_by_every_rule(kind: str) -> None:
    c = curriculum(kind)
    before = c.state_dict()
    for stage in {0, 1, 2} - {c.start_point("p").stage}:
        assert not c.record("p", stage, FAIL)
        assert not c.record("p", stage, ALL)
    assert c.state_dict() == before
