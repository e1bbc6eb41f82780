"""A run directory that the real loops wrote, with every fate of a line and a hostile program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.pipeline import Run
from stepcoder_dist.records import (
    Outcome,
    Problem,
    RolloutRequest,
    StepReport,
    TestSuite,
    Trajectory,
)
from stepcoder_dist.run import session
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter

REFERENCE = "n = int(input())\nif n > 5:\n    n = 5\nif n < 0:\n    n = 0\nprint(n)\n"
"""E = 2: two stages; at stage 1 the policy starts at line 4."""
TESTS = TestSuite(inputs=("7\n", "-1\n", "3\n"), outputs=("5\n", "0\n", "3\n"))

BREAKOUT = "# </script><script>window.pwned = 1</script><img src=x onerror=window.pwned=1>\n"
TURNED = "# \u202ednoces eht\u2069 <!--\n"
"""Turns the reading direction, and opens a comment that would swallow the page."""


def written(request: RolloutRequest) -> str:
    """What the fake policy writes: another kind of program for each of a problem's samples."""
    rest = REFERENCE[len(request.given) :]
    kinds = {
        0: rest,
        1: rest.replace("print(n)", "if n > 9:\n    n = 9\nprint(n)") + BREAKOUT + TURNED,
        2: rest.replace("print(n)", "print(n + 1)"),
        3: rest.replace("print(n)", "print(n"),
        4: "import sys\nsys.settrace(None)\n" + rest.lstrip(),
        5: rest.replace("print(n)", "print(1 / 0)  # héé 🙂"),
    }
    sample = int(request.ticket.sample_id[-4:])
    return kinds[sample if request.given or sample != 4 else 0] + "```\nThat is it."


class MeasuringLearner(FakeLearner):
    """Reports a few figures that move, and one that this version gives no name."""

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        report = await super().step(batch)
        version = report.version
        figures = {"entropy": 1 / version, "kl_reference": 0.01 * version, "policy_loss": -0.1}
        return StepReport(
            version=version,
            skipped=False,
            metrics={**report.metrics, **figures, "temperature_of_the_room": 20.0 + version % 3},
        )


def config(folder: Path, *, steps: int = 8, **train: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "clamp",
            "run_dir": str(folder),
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "curriculum": {"alpha": 0.6, "threshold": 0.2},
            "sampling": {"samples_per_problem": 6, "max_new_tokens": 300},
            "learner": {"samples_per_step": 12, "minibatch_samples": 12},
            "train": {"steps": steps, **train},
        }
    )


def problems(count: int = 5) -> list[Problem]:
    return [
        Problem(
            problem_id=f"clamp/{i}",
            statement=f"clamp number {i}",
            reference=REFERENCE,
            level="interview" if i % 2 else "introductory",
            tests=TESTS,
        )
        for i in range(count)
    ]


def make_run(settings: RunConfig) -> tuple[Run, ProcessPool]:
    """The parts joined, at the run's beginning."""
    sandbox = ProcessPool(SandboxConfig(backend="process", containers=2))
    writer = PromptWriter(ByteTokenizer(), settings.prompt)
    pools = session.Pools(FakeSampler(written, width=2), sandbox)
    return session.compose(settings, problems(), writer, pools, MeasuringLearner()), sandbox


def run_loops(run: Run, sandbox: ProcessPool, folder: RunFolder, *, resume: bool = False) -> None:
    """Train to the last step and close the folder."""

    async def loops() -> None:
        if resume:
            await session.restore(run, folder)
        async with sandbox:
            sinks = [JsonLines(folder.path / "metrics.jsonl")]
            await session.train(run, folder, sinks, Console(quiet=True))

    with closing(folder):
        asyncio.run(loops())


def write_run(folder: Path, settings: RunConfig | None = None) -> Path:
    """Run both loops into `folder`, add two evaluations, and return the folder."""
    settings = settings or config(folder)
    opened = RunFolder(folder, settings)
    opened.write_evaluation("rl", evaluated(passes=6))
    opened.write_evaluation("sft", evaluated(passes=2))
    run_loops(*make_run(settings), opened)
    return folder


def evaluated(passes: int, count: int = 8) -> list[EvaluatedSample]:
    return [
        EvaluatedSample(
            sample_id=f"eval/clamp/{i}/0000",
            problem_id=f"clamp/{i}",
            level="interview" if i % 2 else "introductory",
            source="",
            outcome=Outcome.PASSED if i < passes else Outcome.WRONG_ANSWER,
        )
        for i in range(count)
    ]
