"""The evaluation of held-out problems: sampled and judged as the rollout loop does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import SandboxFault, first_error
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample, executed_share
from stepcoder_dist.loop.planner import sample_seed
from stepcoder_dist.loop.sampling import roll_out
from stepcoder_dist.ports import Sampler, Sandbox
from stepcoder_dist.records import Completion, Problem, RolloutRequest, Ticket
from stepcoder_dist.text.program import PromptWriter, assemble


async def evaluate(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    sampler: Sampler,
    sandbox: Sandbox,
    on_sample: Callable[[], None] = lambda: None,
) -> list[EvaluatedSample]:
    """Sample every problem and judge every program; return them in the order of the problems.

    Other than in training, a program that the sandbox fails on is not replaced: it counts for
    nothing.
    Raises `RunError` when engines are lost.
    """
    by_id = {problem.problem_id: problem for problem in problems}
    requests = {
        request.ticket.sample_id: request
        for problem in problems
        for request in _requests(config, writer, problem)
    }
    done: dict[str, EvaluatedSample] = {}

    async def finish(completion: Completion) -> None:
        request = requests[completion.sample_id]
        problem = by_id[request.ticket.problem_id]
        source = assemble(request.given, completion.text, writer.stop).source
        done[completion.sample_id] = await _judged(completion.sample_id, problem, source, sandbox)
        on_sample()

    # sample by sample, not problem by problem: the kept results were measured in this order
    width, planned = max(sampler.width, 1), list(requests.values())
    shares = [planned[engine::width] for engine in range(width)]
    try:
        async with asyncio.TaskGroup() as under_way:
            for share in filter(None, shares):
                under_way.create_task(roll_out(sampler, share, finish))
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    return [done[sample_id] for sample_id in requests]


async def _judged(
    sample_id: str, problem: Problem, source: str, sandbox: Sandbox
) -> EvaluatedSample:
    sample = EvaluatedSample(
        sample_id=sample_id,
        problem_id=problem.problem_id,
        level=problem.level,
        source=source,
        outcome=None,
    )
    with suppress(SandboxFault):
        verdict = await sandbox.judge(source, problem.tests, problem_id=problem.problem_id)
        return replace(
            sample,
            outcome=verdict.outcome,
            tests_passed=verdict.tests_passed,
            tests_total=len(verdict.tests),
            executed_share=executed_share(verdict),
        )
    return sample


def _requests(config: RunConfig, writer: PromptWriter, problem: Problem) -> list[RolloutRequest]:
    group = f"eval/{problem.problem_id}"
    ids = [f"{group}/{index:04d}" for index in range(config.evaluation.samples_per_problem)]
    tickets = [
        Ticket(
            sample_id=sample_id,
            group=group,
            problem_id=problem.problem_id,
            stage=0,
            seed=sample_seed(config.seed, sample_id),
            planned_step=0,
        )
        for sample_id in ids
    ]
    return writer.requests(
        problem,
        None,
        tickets,
        temperature=config.evaluation.temperature,
        top_p=config.evaluation.top_p,
        max_new_tokens=config.sampling.max_new_tokens,
    )
