"""The same programs under weaker tests, like those of training, as a reward would see them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.records import Problem


async def judged_weakly(
    samples: Sequence[EvaluatedSample], weak: Mapping[str, Problem], sandbox: Sandbox
) -> list[EvaluatedSample]:
    """Judge evaluated programs again, by the tests that `weak` has for their problems."""

    async def judged(sample: EvaluatedSample) -> EvaluatedSample:
        problem = weak[sample.problem_id]
        try:
            verdict = await sandbox.judge(
                sample.source, problem.tests, problem_id=problem.problem_id
            )
        except SandboxFault:
            return replace(sample, outcome=None)
        return replace(sample, outcome=verdict.outcome)

    return list(await asyncio.gather(*(judged(sample) for sample in samples)))


def missing(heldout: Sequence[Problem], weak: Sequence[Problem]) -> str:
    """Return the id of the first held-out problem that has no weak tests; empty: all have."""
    known = {problem.problem_id for problem in weak}
    return next((p.problem_id for p in heldout if p.problem_id not in known), "")
