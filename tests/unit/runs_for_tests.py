"""A run on fakes that can be stopped, or made to crash, at any moment of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.loop.fakes import ByteTokenizer, FakeLearner, FakeSampler
from stepcoder_dist.loop.run import nothing
from stepcoder_dist.records import (
    Outcome,
    Problem,
    RolloutRequest,
    StepReport,
    TestResult,
    TestSuite,
    Trajectory,
    Verdict,
    WeightSnapshot,
)
from stepcoder_dist.run import session
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter

REFERENCE = "n = int(input())\nif n > 5:\n    n = 5\nif n < 0:\n    n = 0\nprint(n)\n"
"""E = 2: two stages; at stage 1 the policy starts at line 4."""


def config(**train: object) -> RunConfig:
    """2 problems of 2 samples a step."""
    return RunConfig.model_validate(
        {
            "name": "loops",
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "curriculum": {"alpha": 0.9, "threshold": 0.5},
            "sampling": {"samples_per_problem": 2, "max_new_tokens": 200},
            "learner": {"samples_per_step": 4, "minibatch_samples": 4},
            "train": {"steps": 4, **train},
        }
    )


def problems(count: int = 4) -> list[Problem]:
    tests = TestSuite(inputs=("7\n",), outputs=("5\n",))
    return [
        Problem(
            problem_id=f"clamp/{i}",
            statement=f"clamp number {i}",
            reference=REFERENCE,
            level="interview",
            tests=tests,
        )
        for i in range(count)
    ]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Scene:
    """One run in a folder. Moments: `sample N`, `step N`, `publish N`, `save N`, `write N`, …

    `disk` is awaited with the version before its checkpoint is written.
    """

    def __init__(
        self,
        path: Path,
        settings: RunConfig,
        *,
        resume: bool = False,
        sampler: FakeSampler | None = None,
    ) -> None:
        self._moments: dict[str, Callable[[], object]] = {}
        self.disk: Callable[[int], Awaitable[None]] = nothing
        self.learner = _Learner(self)
        pools = session.Pools(sampler or FakeSampler(self.right, width=2), _Executor(self))
        writer = PromptWriter(ByteTokenizer(), settings.prompt)
        self.run = session.compose(settings, problems(), writer, pools, self.learner)
        self.folder = RunFolder(path, settings)
        self._resume = resume

    def at(self, moment: str, act: Callable[[], object]) -> None:
        self._moments[moment] = act

    def reach(self, moment: str) -> None:
        self._moments.get(moment, lambda: None)()

    def train(self) -> None:
        async def scenario() -> None:
            if self._resume:
                await session.restore(self.run, self.folder)
            sink = JsonLines(self.folder.path / "metrics.jsonl")
            await session.train(self.run, self.folder, [sink], Console(quiet=True))

        asyncio.run(scenario())

    def close(self) -> None:
        self.folder.close()

    @staticmethod
    def right(request: RolloutRequest) -> str:
        return REFERENCE[len(request.given) :] + "```"


class _Executor:
    """Passes everything."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._judged = 0

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        del source, problem_id
        self._judged += 1
        self._scene.reach(f"sample {self._judged}")
        passed = TestResult(outcome=Outcome.PASSED, executed_lines=frozenset({1}))
        return Verdict(
            outcome=Outcome.PASSED,
            tests=(passed,) * len(tests),
            structure=None,
            coverage_trusted=False,
            wall_ms=1.0,
        )


class _Learner(FakeLearner):
    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self._scene = scene
        self._seen: Counter[str] = Counter()
        self.published: list[int] = []
        self.saved: list[int] = []

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        report = await super().step(batch)
        self._scene.reach(f"step {report.version}")
        return report

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        await super().deliver(snapshot, targets, deadline_s=deadline_s)
        self._scene.reach(f"publish {snapshot.version}")
        self.published.append(snapshot.version)

    async def begin_save(self, folder: str) -> Coroutine[Any, Any, None]:
        self._scene.reach(f"save {self._version}")
        self.saved.append(self._version)
        return await super().begin_save(folder)

    async def _write(self, folder: Path, version: int) -> None:
        await self._scene.disk(version)
        self._scene.reach(f"write {version}")
        await super()._write(folder, version)
