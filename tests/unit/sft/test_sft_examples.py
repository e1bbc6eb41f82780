"""What the warm start imitates, what it leaves out, and what its loss is measured on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.loop.fakes import ByteTokenizer
from stepcoder_dist.records import Problem, TestSuite
from stepcoder_dist.sft import examples as sft_examples
from stepcoder_dist.text.program import PromptWriter

QUIET = Console(quiet=True)


def config(**sft: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "examples",
            "model": {"path": "m", "max_tokens": 60},
            "problems": {"train": "t", "heldout": "h"},
            "sampling": {"max_new_tokens": 20},
            "sft": sft,
        }
    )


def problem(name: str, statement: str = "add", reference: str = "print(1)\n") -> Problem:
    return Problem(
        problem_id=name,
        statement=statement,
        reference=reference,
        level="interview",
        tests=TestSuite(inputs=("",), outputs=("1",)),
    )


WRITER = PromptWriter(ByteTokenizer(), config().prompt)


def test_problems_without_a_reference_or_too_long_are_left_out_by_name_and_none_is_cut():
    printed = io.StringIO()
    problems = [
        problem("p/1"),
        *(problem(f"p/bare{i}", reference="  \n") for i in range(5)),
        problem("p/long", statement="add " * 20),
    ]

    (phase,) = sft_examples.phases(config(), problems, WRITER, Console(file=printed, width=200))

    assert len(phase) == 1
    assert "5 of 7 problems have no reference solution" in printed.getvalue()
    assert "(p/bare0, p/bare1, p/bare2 and 2 more)" in printed.getvalue()
    long = "1 of 7 problems have a prompt and solution above model.max_tokens = 60 tokens (p/long)"
    assert long in printed.getvalue()


def test_an_example_as_long_as_the_context_is_kept():
    whole = WRITER.example(problem("p/1"))
    limit = len(whole.prompt_ids) + len(whole.completion_ids)
    settings = config()
    exact = settings.model.model_copy(update={"max_tokens": limit})
    settings = settings.model_copy(update={"model": exact})

    assert len(sft_examples.phases(settings, [problem("p/1")], WRITER, QUIET)[0]) == 1


def test_a_set_without_a_usable_reference_is_the_users_mistake():
    with pytest.raises(ConfigError, match="none of the 1 SFT problems has a reference solution"):
        sft_examples.phases(config(), [problem("p/1", reference="")], WRITER, QUIET)


def test_a_phase_takes_the_problems_with_few_conditionals():
    branch = problem("p/2", reference="n = 1\nif n:\n    n = 2\n")
    settings = config(
        phases=[
            {"steps": 1, "learning_rate": 1.0, "max_conditionals": 1},
            {"steps": 1, "learning_rate": 1.0},
        ]
    )
    two = problem("p/3", reference="n = 1\nif n:\n    n = 2\nif n:\n    n = 3\n")

    few, everything = sft_examples.phases(settings, [branch, two], WRITER, QUIET)

    assert (len(few), len(everything)) == (1, 2)


def test_what_is_trained_is_never_held_out_whatever_its_name():
    printed = io.StringIO()
    trained = sft_examples.phases(config(), [problem("p/1")], WRITER, QUIET)
    measured = [problem("q/7"), problem("q/8", statement="sub")]

    held = sft_examples.heldout(
        config(), measured, WRITER, Console(file=printed, width=200), trained
    )

    assert [e.prompt_ids.tolist() for e in held] == [
        WRITER.example(measured[1]).prompt_ids.tolist()
    ]
    assert "1 of 2 examples that are trained on" in printed.getvalue()


def test_the_loss_is_measured_on_few_examples_spread_over_the_set():
    measured = [problem(f"q/{i}", statement=f"add {i}") for i in range(9)]

    held = sft_examples.heldout(config(heldout_samples=3), measured, WRITER, QUIET, ())

    expected = [WRITER.example(measured[i]).prompt_ids.tolist() for i in (0, 8, 4)]
    assert [e.prompt_ids.tolist() for e in held] == expected
