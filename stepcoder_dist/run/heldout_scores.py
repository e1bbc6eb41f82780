"""Evaluations during training: the weights of some steps on a fixed slice of the held-out set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.host.even_choice import spread
from stepcoder_dist.host.files.json_lines import append_rows
from stepcoder_dist.records import Problem, WeightVersion
from stepcoder_dist.run import heldout_rows
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import MetricSink

Ask = Callable[[str], Awaitable[list[EvaluatedSample]]]
"""Evaluates the weights that the actors hold; the argument is a title for the user."""
JudgeWeakly = Callable[[Sequence[EvaluatedSample]], Awaitable[Sequence[EvaluatedSample]]]
"""Judges evaluated programs by weak tests, like those of training."""


async def by_no_weak_tests(_samples: Sequence[EvaluatedSample]) -> Sequence[EvaluatedSample]:
    return ()


class HeldoutScores:
    """Evaluates the weights of the steps that are due, into heldout.jsonl and the sinks."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        sinks: Sequence[MetricSink],
        ask: Ask,
        console: Console,
        judge_weakly: JudgeWeakly = by_no_weak_tests,
    ) -> None:
        """`sinks` are all but metrics.jsonl, which has one row for each step."""
        self._every = config.evaluation.every
        self._steps = config.train.steps
        self._folder = folder
        self._file = folder.path / heldout_rows.NAME
        self._sinks = sinks
        self._ask = ask
        self._console = console
        self._judge_weakly = judge_weakly
        self._gap_alarm = config.evaluation.gap_alarm

    async def after_step(self, version: WeightVersion) -> None:
        """Evaluate the version if it is due and the file has no row of it."""
        if self.is_due(version) and version not in heldout_rows.pass_at_1_by_step(self._file):
            await self._evaluate(version)

    def is_due(self, version: WeightVersion) -> bool:
        """Return whether this version is one of those that are evaluated."""
        return self._every > 0 and (version % self._every == 0 or version == self._steps)

    async def _evaluate(self, version: WeightVersion) -> None:
        start = time.monotonic()
        samples = await self._ask(f"eval step {version}")
        weakly = await self._judge_weakly(samples)
        first_gap = heldout_rows.first_gap(self._file)
        seconds = time.monotonic() - start
        row = heldout_rows.row_of(version, samples, seconds, weakly, first_gap)
        append_rows(self._file, [row])
        # another may be the best now
        await asyncio.to_thread(self._folder.remove_old_checkpoints)
        figures = heldout_rows.figures_of(row)
        for sink in self._sinks:
            sink.write(version, figures)
        score = "–" if row["pass_at_1"] is None else f"{row['pass_at_1']:.1%}"
        self._console.print(
            f"held-out pass@1 of step {version}: {score} over {row['problems']} problems",
            highlight=False,
        )
        if "weak" in row:
            self._watch(version, row["weak"])

    def _watch(self, version: WeightVersion, weak: Mapping[str, Any]) -> None:
        """Warn where the policy has learned to pass weak tests with wrong programs."""
        if weak["growth"] > self._gap_alarm:
            low, high = weak["interval"]
            self._console.print(
                f"warning: reward and truth part: by tests like the training ones, pass@1 of step "
                f"{version} is {weak['pass_at_1']:.1%}, {100 * weak['gap']:.1f} points (95% "
                f"{100 * low:.1f} to {100 * high:.1f}) above that by the held-out ones; this gap "
                f"has grown by {100 * weak['growth']:.1f} points since the first evaluation; "
                "strengthen the training tests (docs/augmentation.md), or take an earlier "
                "checkpoint",
                highlight=False,
                soft_wrap=True,
            )


def slice_of(config: RunConfig, heldout: Sequence[Problem]) -> list[Problem]:
    """Return the problems of evaluations during training, in the order of the set; often all."""
    chosen = {problem.problem_id for problem in spread(heldout)[: config.evaluation.during]}
    return [problem for problem in heldout if problem.problem_id in chosen]
