"""Published solutions of the APPS problems at hand, and the three of them that are no programs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sandbox.containers.container_pool import ContainerPool
from stepcoder_dist import problems
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine

APPS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "apps"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.published,
    pytest.mark.skipif(not APPS.is_dir(), reason=f"real problems are not at {APPS}"),
]


def test_every_published_solution_passes_but_three_that_return_outside_a_function():
    programs = {}
    for problem in problems.load(APPS):
        folder = APPS / problem.problem_id.removeprefix("apps/")
        solutions = json.loads((folder / "solutions.json").read_text(encoding="utf-8"))
        for number, source in enumerate(solutions):
            programs[f"{problem.problem_id} #{number}"] = (source, problem.tests)
    try:
        pool = ContainerPool(SandboxConfig(containers=2))
    except MissingEngine as error:
        pytest.skip(str(error))

    async def judge() -> dict[str, str]:
        async with pool:
            verdicts = await asyncio.gather(
                *(pool.judge(s, t, problem_id=name) for name, (s, t) in programs.items())
            )
        return {
            name: f"{verdict.outcome}: {verdict.detail.partition(' (')[0]}"
            for name, verdict in zip(programs, verdicts, strict=True)
            if verdict.outcome != "passed"
        }

    why = "compile_error: SyntaxError: 'return' outside function"
    assert len(programs) == 101
    assert asyncio.run(judge()) == dict.fromkeys(
        ["apps/2287 #2", "apps/2287 #4", "apps/2287 #9"], why
    )
