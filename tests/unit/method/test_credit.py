"""Which lines carry policy loss, rule by rule: programs, tests and line sets written out.

1  n = int(input())
2  if n > 5:
3      n = 5
4  else:
5      n = n - 1
6  if n < 0:
7      n = 1
8  print(n)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from stepcoder_dist import methods
from stepcoder_dist.config import CreditConfig
from stepcoder_dist.method.credit import credited_lines, credited_tokens
from stepcoder_dist.method.credit_rules import executed, failing_tests, rltf, suspicion
from stepcoder_dist.method.credit_rules.credited_lines import CreditedLines
from stepcoder_dist.records import (
    Completion,
    LineStructure,
    Outcome,
    TestResult,
    Verdict,
)
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines

STRUCTURE = LineStructure(
    code_lines=frozenset({1, 2, 3, 5, 6, 7, 8}),
    follows=((1,), (2,), (3,), (5,), (5,), (6,), (7,), (8,)),
    comment_lines=frozenset(),
)
HIGH, LOW, NEGATIVE = {1, 2, 3, 6, 8}, {1, 2, 5, 6, 8}, {1, 2, 5, 6, 7, 8}
"""What an input above 5, one of 1 to 5 and one below 1 execute."""

PASS, FAIL = Outcome.PASSED, Outcome.WRONG_ANSWER


def results_of(*results: tuple[Outcome, set[int]]) -> tuple[TestResult, ...]:
    return tuple(TestResult(outcome=o, executed_lines=frozenset(lines)) for o, lines in results)


def verdict(
    *results: tuple[Outcome, set[int]],
    structure: LineStructure | None = STRUCTURE,
    trusted: bool = True,
) -> Verdict:
    return Verdict(
        outcome=max((o for o, _ in results), key=lambda o: o.severity, default=FAIL),
        tests=results_of(*results),
        structure=structure,
        coverage_trusted=trusted,
        wall_ms=1.0,
    )


def lines(
    rule: str, *results: tuple[Outcome, set[int]], **config: Any
) -> tuple[list[int], list[int]]:
    """Rewarded and blamed."""
    settings = CreditConfig.model_validate({"rule": rule, **config})
    found = credited_lines(verdict(*results), settings)
    assert found is not None
    return sorted(found.rewarded), sorted(found.blamed)


def test_fgo_keeps_what_any_test_executed_under_both_signs() -> None:
    kept = [1, 2, 4, 5, 6, 8]
    assert lines("executed", (PASS, LOW), (FAIL, LOW)) == (kept, kept)


def test_lines_that_only_failing_tests_executed_are_blamed_and_the_passing_ones_rewarded() -> None:
    # `else:` on line 4 follows the block that it opens
    assert lines("failing_tests", (PASS, HIGH), (FAIL, NEGATIVE)) == ([1, 2, 3, 6, 8], [4, 5, 7])
    assert lines("failing_tests", (PASS, LOW), (FAIL, NEGATIVE)) == ([1, 2, 4, 5, 6, 8], [7])


def test_where_no_line_is_the_failing_tests_own_all_of_theirs_are_blamed() -> None:
    passing_lines = [1, 2, 3, 4, 5, 6, 8]
    assert lines("failing_tests", (PASS, HIGH), (PASS, LOW), (FAIL, LOW)) == (
        passing_lines,
        [1, 2, 4, 5, 6, 8],
    )


def test_a_program_that_passes_nothing_is_rewarded_nowhere() -> None:
    assert lines("failing_tests", (FAIL, HIGH), (Outcome.TIMEOUT, {1, 2})) == ([], [1, 2, 3, 6, 8])


def test_a_program_that_passes_has_nothing_to_blame_and_is_as_under_fgo() -> None:
    assert lines("failing_tests", (PASS, HIGH), (PASS, HIGH)) == ([1, 2, 3, 6, 8],) * 2


def test_failing_tests_that_executed_nothing_blame_what_was_executed_at_all() -> None:
    crashed: tuple[Outcome, set[int]] = (Outcome.RUNTIME_ERROR, set())
    assert lines("failing_tests", (PASS, HIGH), crashed) == ([1, 2, 3, 6, 8],) * 2


FOUR = LineStructure(
    code_lines=frozenset({1, 2, 3, 4}),
    follows=((1,), (2,), (3,), (4,)),
    comment_lines=frozenset(),
)


def test_suspicion_weighs_lines_by_how_often_failing_and_passing_tests_execute_them() -> None:
    found = suspicion.lines(FOUR, results_of((PASS, {1, 2}), (FAIL, {1, 4})), "block")
    assert (found.rewarded, found.blamed) == ({1, 2}, {1, 4})
    assert found.blame_weights == {1: pytest.approx(0.5**0.5)}  # 4: 1
    assert found.reward_weights == {1: pytest.approx(1 - 0.5**0.5)}  # 2: 1


def test_the_most_suspicious_line_is_blamed_in_full_where_passing_tests_execute_it_too() -> None:
    tests = results_of((PASS, {1, 2}), (PASS, {1}), (FAIL, {1, 2}), (FAIL, {1}))
    found = suspicion.lines(FOUR, tests, "block")
    # s = 2/√(2·4) for 1, 1/√(2·2) = 0.5 for 2
    assert found.blame_weights == {2: pytest.approx(0.5 / 0.5**0.5)}
    assert found.reward_weights == {1: pytest.approx(1 - 0.5**0.5), 2: pytest.approx(0.5)}


def test_suspicion_without_a_failing_test_or_its_lines_is_fgo() -> None:
    assert lines("suspicion", (PASS, HIGH)) == ([1, 2, 3, 6, 8],) * 2
    crashed: tuple[Outcome, set[int]] = (Outcome.RUNTIME_ERROR, set())
    assert lines("suspicion", (PASS, HIGH), crashed) == ([1, 2, 3, 6, 8],) * 2


def test_rltf_blames_the_line_that_an_error_came_out_of_twice_and_every_line_once() -> None:
    tests = (
        TestResult(outcome=PASS),
        TestResult(outcome=Outcome.RUNTIME_ERROR, detail="ZeroDivisionError: by zero (line 2)"),
        TestResult(outcome=FAIL, detail="expected 3, got (line 3)"),
        TestResult(outcome=Outcome.RUNTIME_ERROR, detail="it left before (line 1) it returned"),
        TestResult(outcome=Outcome.RUNTIME_ERROR, detail="KeyError: 5 (line 999)"),
    )
    found = rltf.lines(FOUR, tests, "block")
    assert (found.rewarded, found.blamed) == ({1, 2, 3, 4}, {1, 2, 3, 4})
    assert (found.reward_weights, found.blame_weights) == ({}, {2: 2.0})
    without = rltf.lines(FOUR, tests[:1], "block")
    assert without.blame_weights == {}


def test_a_token_has_the_weight_of_its_line_and_what_is_no_code_has_none() -> None:
    completion = sampled("a\n\nb\nc\n```\nok")
    tests = (TestResult(outcome=Outcome.RUNTIME_ERROR, detail="E (line 3)"),)
    three = LineStructure(
        code_lines=frozenset({1, 3, 4}), follows=((1,), (1,), (3,), (4,)), comment_lines=frozenset()
    )
    seen = Verdict(
        outcome=Outcome.RUNTIME_ERROR,
        tests=tests,
        structure=three,
        coverage_trusted=True,
        wall_ms=1.0,
    )
    config = CreditConfig(rule="rltf")
    credit = credited_tokens(completion, seen, config)
    assert credit.reward_weights is None
    assert credit.blame_weights is not None
    # both line ends before `b` belong to it, that after it to `c`
    assert credit.blame_weights.tolist() == [1, 2, 2, 2] + [1] * 10


@pytest.mark.parametrize(
    ("comments", "rewarded", "blamed"),
    # line 1 is code of both tests, line 2 a comment in the block of line 3, which only one runs
    [("block", [1], [2, 3]), ("keep", [1, 2], [2, 3]), ("mask", [1], [3])],
)
def test_comments_are_blamed_as_the_setting_for_comments_says(
    comments: str, rewarded: list[int], blamed: list[int]
) -> None:
    structure = LineStructure(
        code_lines=frozenset({1, 3}), follows=((1,), (3,), (3,)), comment_lines=frozenset({2})
    )
    found = failing_tests.lines(
        structure,
        results_of((PASS, {1}), (FAIL, {1, 3})),
        comments,  # type: ignore[arg-type]
    )
    assert (sorted(found.rewarded), sorted(found.blamed)) == (rewarded, blamed)


@pytest.mark.parametrize("rule", methods.CREDIT_RULES)
def test_no_rule_masks_what_cannot_be_trusted_or_did_not_compile(rule: str) -> None:
    config = CreditConfig.model_validate({"rule": rule})
    assert credited_lines(verdict((FAIL, LOW), trusted=False), config) is None
    assert credited_lines(verdict(structure=None), config) is None


def sampled(source: str) -> Completion:
    """One token a character, and the end of sequence."""
    ends = np.arange(1, len(source) + 1)
    spans = [*zip(ends - 1, ends, strict=True), (len(source), len(source))]
    char_spans = np.array(spans, dtype=np.int32)
    program = assemble("", source)
    return Completion(
        sample_id="s",
        text=source,
        token_ids=np.arange(len(spans), dtype=np.int32),
        char_spans=char_spans,
        program=program,
        token_lines=token_lines(program, source, char_spans, ended=True),
        logprobs=np.zeros(len(spans), dtype=np.float32),
        ended=True,
        oldest_weights=0,
        newest_weights=0,
    )


def test_the_two_masks_are_the_two_line_sets_and_the_answers_end_is_in_both() -> None:
    completion = sampled("a\nb\nc")
    structure = LineStructure(
        code_lines=frozenset({1, 2, 3}), follows=((1,), (2,), (3,)), comment_lines=frozenset()
    )
    seen = verdict((PASS, {1, 3}), (FAIL, {1, 2}), structure=structure)
    credit = credited_tokens(completion, seen, CreditConfig(rule="failing_tests"))
    # a newline goes with the visible character after it
    marks = ["".join("-+"[int(kept)] for kept in mask) for mask in (credit.rewarded, credit.blamed)]
    assert marks == ["+--+++", "-++--+"]


@pytest.mark.parametrize("rule", ["executed", "all"])
def test_rules_that_do_not_look_at_the_sign_have_one_mask(rule: str) -> None:
    completion = sampled("a\nb")
    structure = LineStructure(
        code_lines=frozenset({1, 2}), follows=((1,), (2,)), comment_lines=frozenset()
    )
    seen = verdict((FAIL, {1}), structure=structure)
    config = CreditConfig.model_validate({"rule": rule})
    credit = credited_tokens(completion, seen, config)
    assert credit.rewarded is credit.blamed


line_sets = st.sets(st.sampled_from([1, 2, 3, 5, 6, 7, 8]))
results = st.lists(
    st.tuples(st.sampled_from([PASS, FAIL, Outcome.TIMEOUT]), line_sets), min_size=1, max_size=5
)


@given(results)
def test_both_signs_together_keep_what_fgo_keeps_and_the_order_of_tests_is_nothing(
    drawn: Sequence[tuple[Outcome, set[int]]],
) -> None:
    whole = executed.lines(STRUCTURE, results_of(*drawn), "block")
    found = failing_tests.lines(STRUCTURE, results_of(*drawn), "block")
    assert found.either == whole.either
    assert found == failing_tests.lines(STRUCTURE, results_of(*reversed(drawn)), "block")
    if all(outcome is PASS for outcome, _ in drawn):
        assert found == CreditedLines(whole.rewarded, whole.rewarded)
    if whole.either:
        assert found.blamed
