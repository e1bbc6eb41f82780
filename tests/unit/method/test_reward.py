"""Rewards (paper Eq. 3, DESIGN §4): the whole table, and what it must not depend on."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from stepcoder_dist.method.reward import reward, worst
from stepcoder_dist.method.reward_rules import verpo
from stepcoder_dist.records import LineStructure, Outcome, TestResult, Verdict

TIERS = {
    Outcome.PASSED: 1.0,
    Outcome.WRONG_ANSWER: -0.3,
    Outcome.RUNTIME_ERROR: -0.6,
    Outcome.TIMEOUT: -0.6,
    Outcome.OUTPUT_LIMIT: -0.6,
    Outcome.OUT_OF_MEMORY: -0.6,
    Outcome.COMPILE_ERROR: -1.0,
}


def verdict(*outcomes: Outcome, executed: frozenset[int] = frozenset()) -> Verdict:
    """What the sandbox says about a program whose tests ended so; no tests: a compile error."""
    return Verdict(
        outcome=worst(list(outcomes)) if outcomes else Outcome.COMPILE_ERROR,
        tests=tuple(TestResult(outcome=o, executed_lines=executed) for o in outcomes),
        structure=LineStructure(code_lines=executed, follows=((1,),), comment_lines=frozenset())
        if outcomes
        else None,
        coverage_trusted=True,
        wall_ms=1.0,
    )


def test_the_paper_gives_every_outcome_a_reward() -> None:
    assert set(TIERS) == set(Outcome)
    for outcome in Outcome:
        seen = verdict() if outcome is Outcome.COMPILE_ERROR else verdict(outcome)
        assert reward(seen) == TIERS[outcome]


@pytest.mark.parametrize(
    ("outcomes", "tiered", "binary", "pass_ratio"),
    [
        (["passed", "passed"], 1.0, 1.0, 1.0),
        (["passed", "wrong_answer"], -0.3, 0.0, 0.35),
        (["wrong_answer", "wrong_answer"], -0.3, 0.0, -0.3),
        (["passed", "passed", "passed", "runtime_error"], -0.6, 0.0, 0.675),
        (["wrong_answer", "timeout"], -0.6, 0.0, -0.3),
        (["out_of_memory"], -0.6, 0.0, -0.3),
        (["passed", "output_limit"], -0.6, 0.0, 0.35),
        ([], -1.0, 0.0, -1.0),
    ],
)
def test_alternatives(outcomes: list[str], tiered: float, binary: float, pass_ratio: float) -> None:
    seen = verdict(*map(Outcome, outcomes))
    assert reward(seen, "tiered") == tiered
    assert reward(seen, "binary") == binary
    assert reward(seen, "pass_ratio") == pytest.approx(pass_ratio, abs=1e-12)


def test_a_full_pass_is_exactly_one_under_every_alternative() -> None:
    for tests in range(1, 200):
        seen = verdict(*[Outcome.PASSED] * tests)
        assert {reward(seen, kind) for kind in ("tiered", "binary", "pass_ratio")} == {1.0}


def test_the_worst_outcome_is_the_programs() -> None:
    worst_first = [
        "compile_error",
        "out_of_memory",
        "output_limit",
        "timeout",
        "runtime_error",
        "wrong_answer",
        "passed",
    ]
    for bad, better in itertools.combinations(worst_first, 2):
        assert worst([Outcome(better), Outcome(bad), Outcome(better)]) is Outcome(bad)


def test_no_tests_is_never_a_pass() -> None:
    with pytest.raises(ValueError, match="without tests"):
        worst([])
    forged = Verdict(
        outcome=Outcome.PASSED, tests=(), structure=None, coverage_trusted=True, wall_ms=0.0
    )
    for kind in ("tiered", "binary", "pass_ratio"):
        with pytest.raises(ValueError, match="without tests"):
            reward(forged, kind)


outcome_lists = st.lists(
    st.sampled_from([o for o in Outcome if o is not Outcome.COMPILE_ERROR]), min_size=1, max_size=8
)


@given(outcome_lists, st.sampled_from(["tiered", "binary", "pass_ratio"]), st.data())
def test_reward_stays_in_bounds_and_depends_on_outcomes_only(
    outcomes: list[Outcome], kind: str, data: st.DataObject
) -> None:
    executed = data.draw(st.frozensets(st.integers(1, 50)))
    shuffled = data.draw(st.permutations(outcomes))
    value = reward(verdict(*outcomes), kind)  # type: ignore[arg-type]
    assert -1 <= value <= 1
    assert (value == 1) == (set(outcomes) == {Outcome.PASSED})
    assert value == reward(verdict(*shuffled, executed=executed), kind)  # type: ignore[arg-type]


def test_verpo_weighs_a_test_by_how_few_of_the_group_pass_it() -> None:
    passed, wrong = Outcome.PASSED, Outcome.WRONG_ANSWER
    group = [
        verdict(passed, wrong, wrong),
        verdict(passed, passed, wrong),
        verdict(passed, wrong, wrong),
        verdict(),
    ]
    # passes 3, 1, 0 of 4: weights 2/5, 4/5, 5/5
    one, two = -0.3 + 1.3 * (2 / 11) / 2, -0.3 + 1.3 * (6 / 11) / 2
    assert verpo.of_group(group) == pytest.approx([one, two, one, -1.0])


def test_verpo_pays_a_full_pass_the_most_and_a_group_of_them_alike() -> None:
    passed, wrong = Outcome.PASSED, Outcome.RUNTIME_ERROR
    assert verpo.of_group([verdict(passed, passed)] * 2) == pytest.approx([1.0, 1.0])
    assert verpo.of_group([verdict(wrong), verdict(passed)]) == pytest.approx([-0.3, 1.0])
    assert verpo.of_group([verdict(), verdict()]) == [-1.0, -1.0]


def test_ppocoder_adds_how_much_of_the_references_tree_and_flow_the_program_has() -> None:
    def worth(outcome: Outcome, likeness: tuple[float, float] | None) -> float:
        return reward(replace(verdict(outcome), likeness=likeness), "ppocoder")

    assert worth(Outcome.WRONG_ANSWER, (0.5, 0.25)) == pytest.approx(0.45)
    assert worth(Outcome.PASSED, (1.0, 1.0)) == 3.0
    assert worth(Outcome.RUNTIME_ERROR, None) == -0.6
    assert reward(verdict(), "ppocoder") == -1.0
