"""Held-out problems are sampled and judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from runs_for_tests import config

from stepcoder_dist.config import EvalConfig, PromptConfig
from stepcoder_dist.errors import RunError, SandboxFault
from stepcoder_dist.evaluation.roll_out import evaluate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeSampler
from stepcoder_dist.problems import ladder
from stepcoder_dist.records import Completion, Outcome, RolloutRequest, TestResult, Verdict
from stepcoder_dist.text.program import PromptWriter

PROBLEMS = list(ladder.problems("heldout", count=3))
SETTINGS = config().model_copy(
    update={"evaluation": EvalConfig(samples_per_problem=2, temperature=0.0, top_p=0.9)}
)


class Judge:
    """Fails on programs of one text, and says of all others that they pass."""

    async def judge(self, source, tests, **_) -> Verdict:
        if "fault" in source:
            raise SandboxFault("the engine is away")
        return Verdict(
            outcome=Outcome.PASSED,
            tests=(TestResult(outcome=Outcome.PASSED),) * len(tests),
            structure=None,
            coverage_trusted=True,
            wall_ms=1.0,
        )


def run(sampler: FakeSampler) -> tuple[list, int]:
    told = []
    writer = PromptWriter(ByteTokenizer(), PromptConfig())
    samples = asyncio.run(
        evaluate(SETTINGS, PROBLEMS, writer, sampler, Judge(), lambda: told.append(1))
    )
    return samples, len(told)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_every_sample_is_there_once_in_the_order_of_the_problems(width: int):
    samples, told = run(FakeSampler(lambda _: "print(1)\n```", width=width))
    names = [problem.problem_id for problem in PROBLEMS]
    assert [s.sample_id for s in samples] == [f"eval/{n}/000{i}" for n in names for i in (0, 1)]
    assert [s.problem_id for s in samples] == [n for n in names for _ in (0, 1)]
    assert {s.source for s in samples} == {"print(1)\n"}
    assert all(s.passed for s in samples)
    assert [s.tests_passed for s in samples[::2]] == [len(p.tests) for p in PROBLEMS]
    assert told == 6


def test_a_request_gives_no_code_and_samples_as_evaluation_does():
    asked: list[RolloutRequest] = []
    run(FakeSampler(lambda request: asked.append(request) or "```"))
    assert {(r.given, r.temperature, r.top_p) for r in asked} == {("", 0.0, 0.9)}
    assert {r.max_new_tokens for r in asked} == {SETTINGS.sampling.max_new_tokens}
    assert len({r.ticket.seed for r in asked}) == 6


def test_a_program_that_the_sandbox_fails_on_is_no_verdict_and_is_not_replaced():
    def policy(request: RolloutRequest) -> str:
        return "fault\n```" if request.ticket.sample_id.endswith("1") else "print(1)\n```"

    samples, told = run(FakeSampler(policy))
    assert [s.outcome for s in samples] == [Outcome.PASSED, None] * 3
    assert (samples[1].source, samples[1].tests_total) == ("fault\n", 0)
    assert told == 6


class DyingSampler(FakeSampler):
    """Is lost after each completion, or before every one."""

    def __init__(self, *, completions: int) -> None:
        super().__init__(lambda _: "print(1)\n```")
        self._completions = completions

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        async for completion in super().sample(share[: self._completions]):
            yield completion
        raise RunError("rollout-0 is gone")


def test_what_a_lost_engine_had_not_finished_goes_to_another_one():
    samples, _ = run(DyingSampler(completions=1))
    assert len(samples) == 6
    assert samples[0] == replace(samples[0], outcome=Outcome.PASSED)


def test_engines_that_are_lost_in_a_row_end_the_evaluation_with_one_error():
    with pytest.raises(RunError, match=r"3 engines in a row were lost on the same 6 samples"):
        run(DyingSampler(completions=0))
