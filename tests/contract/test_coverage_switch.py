"""`sandbox.coverage = false`: the same verdicts, no lines, and nothing that looks like a mask."""

from __future__ import annotations

import asyncio
import warnings

import numpy as np
import pytest
from sandbox_cases import ONE, OUTCOMES, call_tests, stdin_tests

from sandbox.backend import open_pool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import CreditConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.method.credit import credited_tokens
from stepcoder_dist.records import Completion, Outcome, Verdict
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines

TRACED = """\
import sys
tools = getattr(sys, 'monitoring', None)  # from Python 3.12 on
print(sys.gettrace(), tools and tools.get_tool(tools.COVERAGE_ID))
"""


@pytest.fixture(
    params=[
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        "process",
    ]
)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pool(backend: str) -> WorkerPool:
    limits = {"cpu_limit_s": 1.0, "wall_limit_s": 2.0, "memory_limit_mib": 128}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return open_pool(
                backend=backend, containers=1, coverage=False, output_limit_mib=1, **limits
            )
    except MissingEngine as error:
        pytest.skip(str(error))


def judged(backend: str, *programs: tuple[str, object]) -> list[Verdict]:
    async def all_of_them() -> list[Verdict]:
        async with pool(backend) as opened:
            return await asyncio.gather(*(opened.judge(s, t, problem_id=s) for s, t in programs))

    return asyncio.run(all_of_them())


def test_without_coverage_every_outcome_stays_and_no_line_is_told(backend):
    verdicts = judged(backend, *((source, ONE) for source, _ in OUTCOMES.values()))
    wanted = [outcome for _, outcome in OUTCOMES.values()]
    assert [v.outcome for v in verdicts] == wanted
    assert not any(v.coverage_trusted or v.executed_lines for v in verdicts)
    compiled = [v for v in verdicts if v.outcome is not Outcome.COMPILE_ERROR]
    assert all(v.structure is not None for v in compiled)


def test_without_coverage_a_program_finds_no_tracer(backend):
    (verdict,) = judged(backend, (TRACED, stdin_tests(("", "None None"))))
    assert verdict.outcome is Outcome.PASSED, verdict.detail


def test_without_coverage_no_token_is_masked(backend):
    source = "def f(x):\n    if x:\n        return 1\n    return 2\n"
    (verdict,) = judged(backend, (source, call_tests("f", ([True], 1))))
    ids = np.arange(len(source), dtype=np.int32)
    spans = np.stack([ids, ids + 1], axis=1)
    program = assemble("", source)
    completion = Completion(
        sample_id="s",
        text=source,
        token_ids=ids,
        char_spans=spans,
        program=program,
        token_lines=token_lines(program, source, spans, ended=False),
        logprobs=np.zeros(len(ids), dtype=np.float32),
        ended=False,
        oldest_weights=0,
        newest_weights=0,
    )
    assert verdict.outcome is Outcome.PASSED
    assert credited_tokens(completion, verdict, CreditConfig()).rewarded.all()
