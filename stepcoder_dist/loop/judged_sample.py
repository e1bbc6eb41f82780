"""How a completion becomes what the learner trains on: program, verdict, reward, masks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepcoder_dist.config import RunConfig
from stepcoder_dist.method.credit import credited_tokens
from stepcoder_dist.method.credit_rules.credited_lines import CreditedLines
from stepcoder_dist.method.reward import reward
from stepcoder_dist.method.reward_rules import group_rule
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.records import Completion, Problem, RolloutRequest, Trajectory, Verdict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JudgedSample:
    """A trajectory, with what it was made from. The driver keeps the latter."""

    trajectory: Trajectory
    """What the learner gets."""
    request: RolloutRequest
    """Sampled again if this sample is not trained."""
    completion: Completion
    verdict: Verdict
    lines: CreditedLines | None
    """None means that every token carries loss."""
    tests_total: int
    """Tests of the problem: a program that does not compile has no test results."""

    @property
    def sample_id(self) -> str:
        return self.request.ticket.sample_id


async def judge(
    completion: Completion,
    request: RolloutRequest,
    problem: Problem,
    sandbox: Sandbox,
    config: RunConfig,
) -> JudgedSample:
    """Judge the completion's program in the sandbox and score it. Raises `SandboxFault`."""
    source = completion.program.source
    begun = time.monotonic()
    verdict = await sandbox.judge(source, problem.tests, problem_id=problem.problem_id)
    judge_ms = (time.monotonic() - begun) * 1000
    return scored(completion, request, problem, verdict, config, judge_ms=judge_ms)


def with_group_rewards(batch: Sequence[JudgedSample], config: RunConfig) -> list[JudgedSample]:
    """Return the samples of a step with the rewards of a rule that compares a group's samples.

    Other rules change nothing. Groups are complete here (`RunConfig.compares_groups`).
    """
    rule = group_rule(config.reward.kind)
    if rule is None:
        return list(batch)
    groups: dict[str, list[JudgedSample]] = {}
    for judged in batch:
        groups.setdefault(judged.trajectory.ticket.group, []).append(judged)
    rewards: dict[str, float] = {}
    for group in groups.values():
        scores = rule.of_group([judged.verdict for judged in group])
        ids = (judged.sample_id for judged in group)
        rewards |= zip(ids, scores, strict=True)
    return [
        replace(judged, trajectory=replace(judged.trajectory, reward=rewards[judged.sample_id]))
        for judged in batch
    ]


def scored(
    completion: Completion,
    request: RolloutRequest,
    problem: Problem,
    verdict: Verdict,
    config: RunConfig,
    *,
    judge_ms: float,
) -> JudgedSample:
    """Turn a verdict into a reward and masks. The same arguments give the same sample."""
    credit = credited_tokens(completion, verdict, config.credit)
    trajectory = Trajectory(
        ticket=request.ticket,
        level=problem.level,
        prompt_ids=request.prompt_ids,
        completion_ids=completion.token_ids,
        rollout_logprobs=completion.logprobs,
        keep=credit.rewarded,
        blame=None if credit.blamed is credit.rewarded else credit.blamed,
        reward=reward(verdict, config.reward.kind),
        outcome=verdict.outcome,
        temperature=request.temperature,
        oldest_weights=completion.oldest_weights,
        newest_weights=completion.newest_weights,
        judge_ms=judge_ms,
        truncated=not completion.ended,
        weights=credit.reward_weights,
        blame_weights=credit.blame_weights,
    )
    return JudgedSample(
        trajectory=trajectory,
        request=request,
        completion=completion,
        verdict=verdict,
        lines=credit.lines,
        tests_total=len(problem.tests),
    )
