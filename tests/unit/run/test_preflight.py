"""What is refused or left out before any process starts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.loop.fakes import ByteTokenizer
from stepcoder_dist.records import Problem, TestSuite
from stepcoder_dist.run import preflight
from stepcoder_dist.text.program import PromptWriter


def config(max_tokens: int = 200, kind: str = "cccs") -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "preflight",
            "model": {"path": "m", "max_tokens": max_tokens},
            "problems": {"train": "t", "heldout": "h"},
            "sampling": {"max_new_tokens": 100},
            "curriculum": {"kind": kind},
        }
    )


def problem(name: str, statement: str, reference: str = "print(1)\n") -> Problem:
    return Problem(
        problem_id=name,
        statement=statement,
        reference=reference,
        level="interview",
        tests=TestSuite(inputs=("",), outputs=("1",)),
    )


WRITER = PromptWriter(ByteTokenizer(), config().prompt)


def test_a_problem_whose_prompt_leaves_no_room_is_left_out_by_name():
    printed = io.StringIO()
    short, long = problem("p/short", "add"), problem("p/long", "add " * 50)
    fit = preflight.fitting(config(), [short, long], WRITER, Console(file=printed, width=200))
    assert fit == [short]
    assert "1 of 2 problems have prompts above" in printed.getvalue()
    assert "p/long" in printed.getvalue()


def test_the_given_code_counts_towards_the_prompt():
    # E = 2: the first stage gives everything before the second `if`
    reference = "n = 1\n" + "n += 1\n" * 20 + "if n:\n    n = 2\nif n:\n    n = 3\nprint(n)\n"
    deep = problem("p/deep", "add", reference)
    with pytest.raises(ConfigError, match=r"p/deep, \d+\); raise model.max_tokens"):
        preflight.fitting(config(), [deep], WRITER, Console(quiet=True))
    whole = preflight.without_given_code(config())
    assert preflight.fitting(whole, [deep], WRITER, Console(quiet=True)) == [deep]


def test_code_that_is_only_given_after_a_failure_has_to_fit_too():
    reference = "n = 1\n" + "n += 1\n" * 20 + "if n:\n    n = 2\nif n:\n    n = 3\nprint(n)\n"
    deep = problem("p/deep", "add", reference)
    with pytest.raises(ConfigError, match=r"p/deep, \d+\); raise model.max_tokens"):
        preflight.fitting(config(kind="on_failure"), [deep], WRITER, Console(quiet=True))


@pytest.mark.parametrize(
    ("alone", "steps", "advantage", "told"),
    [(2, 2, "gae", True), (2, 3, "gae", False), (2, 2, "grpo", False), (0, 1, "gae", False)],
)
def test_a_warm_up_that_leaves_the_policy_no_step_is_told(alone, steps, advantage, told):
    printed = io.StringIO()
    learner = {"critic_warmup_steps": alone, "advantage": advantage}
    whole = config().model_dump() | {"learner": learner, "train": {"steps": steps}}
    preflight.tell_if_the_policy_stands_still(
        RunConfig.model_validate(whole), Console(file=printed, width=200)
    )
    assert ("the policy is not trained" in printed.getvalue()) == told


def test_held_out_problems_that_are_trained_are_told_by_their_statements():
    trained = [problem("train/1", "add  two\nnumbers", "x"), problem("0", "count words", "x")]
    heldout = [problem("test/9", "add two numbers", "y"), problem("0", "sort words", "y")]
    printed = io.StringIO()
    told = Console(file=printed, width=300)
    preflight.tell_if_heldout_is_trained("problems.sft", trained, heldout[1:], told)
    assert printed.getvalue() == ""
    preflight.tell_if_heldout_is_trained("problems.sft", trained, heldout, told)
    asked = "1 of 2 problems of problems.heldout ask the same as one of problems.sft"
    assert f"{asked} (the first: test/9)" in printed.getvalue()
