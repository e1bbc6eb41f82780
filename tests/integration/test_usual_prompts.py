"""HumanEval as it is published, asked in both usual ways, answered with its own solutions."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from sandbox.containers.container_pool import ContainerPool
from stepcoder_dist import problems
from stepcoder_dist.config import PromptConfig, RunConfig, SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.evaluation.roll_out import evaluate
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeSampler
from stepcoder_dist.records import Outcome, Problem, RolloutRequest
from stepcoder_dist.text.program import PromptWriter

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "HumanEval.jsonl.gz"
pytestmark = [
    pytest.mark.docker,
    pytest.mark.published,
    pytest.mark.filterwarnings("ignore::SyntaxWarning"),
    pytest.mark.skipif(not DATA.is_file(), reason=f"HumanEval is not at {DATA}"),
]

CONFIG = RunConfig.model_validate(
    {
        "name": "humaneval",
        "model": {"path": "none", "max_tokens": 9000},
        "problems": {"train": "none", "heldout": str(DATA)},
        "sampling": {"max_new_tokens": 8000},
    }
)


def lone_function(problem: Problem) -> str:
    """The asked function alone: no import and no helper of the prompt, as a model may answer."""
    for node in ast.parse(problem.reference).body:
        if isinstance(node, ast.FunctionDef) and node.name == problem.tests.entry_point:
            return ast.unparse(node) + "\n```\nThis imports nothing.\n"
    raise AssertionError(problem.problem_id)


def body(problem: Problem, given_code: str) -> str:
    """The canonical body, and what a base model writes on."""
    assert given_code, problem.problem_id
    return problem.reference.lstrip("\n").removeprefix(given_code) + "\n\ndef next_one(:\n    x"


@pytest.mark.parametrize("task", ["humaneval", "humaneval-completion"])
def test_every_canonical_solution_passes_as_a_lone_function_and_as_a_continuation(task: str):
    loaded = problems.load(DATA)
    by_id = {problem.problem_id: problem for problem in loaded}
    writer = PromptWriter(ByteTokenizer(), PromptConfig.model_validate({"task": task}))

    def policy(request: RolloutRequest) -> str:
        problem = by_id[request.ticket.problem_id]
        return lone_function(problem) if task == "humaneval" else body(problem, request.given)

    try:
        pool = ContainerPool(SandboxConfig(containers=2))
    except MissingEngine as error:
        pytest.skip(str(error))

    async def samples() -> dict[str, Outcome | None]:
        async with pool:
            found = await evaluate(CONFIG, loaded, writer, FakeSampler(policy), pool)
        return {s.problem_id: s.outcome for s in found}

    outcomes = asyncio.run(samples())
    assert len(outcomes) == 164
    assert {name: o for name, o in outcomes.items() if o is not Outcome.PASSED} == {}
