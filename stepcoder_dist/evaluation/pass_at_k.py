"""pass@k by level, and what went wrong, from samples of whole programs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import SandboxFault, first_error
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample, executed_share
from stepcoder_dist.loop.planner import sample_seed
from stepcoder_dist.loop.sampling import sample_whole
from stepcoder_dist.ports import Executor, Sampler
from stepcoder_dist.records import (
    LEVELS,
    Completion,
    Outcome,
    Problem,
    RolloutRequest,
    Ticket,
)
from stepcoder_dist.text.program import PromptWriter, assemble

BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelScore:
    """The scores of one level, or of all."""

    level: str
    problems: int
    """With a judged sample."""
    lost_problems: int
    """Without one: the sandbox failed on every sample. They count for nothing."""
    samples: int
    pass_at: dict[int, float]
    """Unbiased pass@k by k, mean over the problems with at least k judged samples; without a k
    for which there is no such problem."""
    intervals: dict[int, tuple[float, float]]
    """95% bootstrap interval of pass@k by k, over the same problems."""
    problems_at: dict[int, int]
    """How many problems have at least k judged samples, by k: `problems`, or less where the
    sandbox failed on some."""
    outcomes: dict[Outcome, float]
    """Share of samples by outcome."""
    faults: int
    executed_share: float | None
    """Mean over the samples for which it is known."""

    @property
    def interval(self) -> tuple[float, float]:
        """Of the smallest k; (0, 0) where nothing was judged."""
        return self.intervals[min(self.intervals)] if self.intervals else (0.0, 0.0)


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """1 − C(n−c, k)/C(n, k): Chen et al. 2021, arXiv 2107.03374, Eq. 1.

    Raises `ValueError` when k exceeds the number of samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples of a problem, not {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


async def evaluate(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    sampler: Sampler,
    executor: Executor,
    on_sample: Callable[[], None] = lambda: None,
) -> list[EvaluatedSample]:
    """Sample every problem, judge every program; in the order of the problems.

    Raises `RunError` when an engine is lost.
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
        sample = EvaluatedSample(
            sample_id=completion.sample_id,
            problem_id=problem.problem_id,
            level=problem.level,
            source=assemble(request.given, completion.text, writer.stop).source,
            outcome=None,
        )
        with suppress(SandboxFault):
            verdict = await executor.judge(sample.source, problem.tests)
            sample = replace(
                sample,
                outcome=verdict.outcome,
                tests_passed=verdict.tests_passed,
                tests_total=len(verdict.tests),
                executed_share=executed_share(verdict),
            )
        done[completion.sample_id] = sample
        on_sample()

    async def roll_out(share: Sequence[RolloutRequest]) -> None:
        async with asyncio.TaskGroup() as judging:
            async for completion in sample_whole(sampler, share):
                judging.create_task(finish(completion))

    width, planned = max(sampler.width, 1), list(requests.values())
    try:
        async with asyncio.TaskGroup() as shares:
            for engine in range(width):
                if share := planned[engine::width]:
                    shares.create_task(roll_out(share))
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    return [done[sample_id] for sample_id in requests]


def _requests(config: RunConfig, writer: PromptWriter, problem: Problem) -> list[RolloutRequest]:
    """The samples of one problem: they share one prompt, encoded once."""
    prompt_ids, given = writer.encode(problem)
    group = f"eval/{problem.problem_id}"
    ids = [f"{group}/{index:04d}" for index in range(config.evaluation.samples_per_problem)]
    return [
        RolloutRequest(
            ticket=Ticket(
                sample_id=sample_id,
                group=group,
                problem_id=problem.problem_id,
                stage=0,
                seed=sample_seed(config.seed, sample_id),
                planned_step=0,
            ),
            prompt_ids=prompt_ids,
            given=given,
            temperature=config.evaluation.temperature,
            top_p=config.evaluation.top_p,
            max_new_tokens=config.sampling.max_new_tokens,
        )
        for sample_id in ids
    ]


def scores(samples: Sequence[EvaluatedSample], ks: Sequence[int]) -> list[LevelScore]:
    """One row for each level that occurs, then one for all."""
    rows = [
        _score(level, members, ks)
        for level in LEVELS
        if (members := [s for s in samples if s.level == level])
    ]
    return [*rows, _score("all", samples, ks)]


def _score(level: str, samples: Sequence[EvaluatedSample], ks: Sequence[int]) -> LevelScore:
    judged = [sample for sample in samples if sample.outcome is not None]
    counts: dict[str, list[int]] = {}
    for sample in judged:
        count = counts.setdefault(sample.problem_id, [0, 0])
        count[0] += 1
        count[1] += sample.passed
    shares = [s.executed_share for s in samples if s.executed_share is not None]
    each = {k: np.array([pass_at_k(n, c, k) for n, c in counts.values() if n >= k]) for k in ks}
    return LevelScore(
        level=level,
        problems=len(counts),
        lost_problems=len({s.problem_id for s in samples}) - len(counts),
        samples=len(samples),
        pass_at={k: float(values.mean()) for k, values in each.items() if len(values)},
        intervals={k: interval_of_mean(values) for k, values in each.items() if len(values)},
        problems_at={k: len(values) for k, values in each.items()},
        outcomes={
            outcome: sum(s.outcome is outcome for s in judged) / max(len(judged), 1)
            for outcome in Outcome
        },
        faults=len(samples) - len(judged),
        executed_share=sum(shares) / len(shares) if shares else None,
    )


def interval_of_mean(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95% percentile interval of the mean over problems; a fixed seed, so a table repeats."""
    if not len(values):
        return (0.0, 0.0)
    draws = np.random.default_rng(0).choice(values, size=(BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(draws.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
