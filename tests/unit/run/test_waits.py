"""What a run writes and prints of who waited for whom."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from rich.console import Console
from runs_for_tests import Scene, config, rows

from stepcoder_dist.loop.run import LastStep
from stepcoder_dist.run import session
from stepcoder_dist.run.sinks.metric_sinks import JsonLines


def test_every_step_has_its_waits_and_the_reader_hears_what_would_help(tmp_path: Path):
    scene = Scene(tmp_path, config())
    printed, heard = io.StringIO(), list[LastStep]()
    clock = [0.0]
    scene.run.stages._now = lambda: clock[0]
    scene.run.stages._since = 0.0

    def slow() -> None:
        """The learner's step takes five seconds, and nothing else takes any."""
        clock[0] += 5.0

    for step in range(1, 5):
        scene.at(f"step {step}", slow)

    async def scenario() -> None:
        sink = JsonLines(tmp_path / "metrics.jsonl")
        console = Console(file=printed, width=120)
        await session.train(scene.run, scene.folder, [sink], console, after_step=heard.append)

    asyncio.run(scenario())
    scene.close()
    for row, step in zip(rows(tmp_path / "metrics.jsonl"), heard, strict=True):
        assert row["step"] == step.version
        assert row["waits/rollouts_wait_for_learner"] == 5.0
        assert row["waits/rollouts_wait_for_sandbox"] == 0.0
    assert scene.run.last_step is heard[-1]
    assert [step.bottleneck.stage for step in heard] == ["learner"] * 4
    lines = printed.getvalue().splitlines()
    advice = [line for line in lines if "train.max_staleness = 1 would let them sample" in line]
    assert len(advice) == 1, "it is said once, not with every step"
    assert advice[0].startswith(
        "step 1: rollouts waited 100% of the step (5.0 s) for the learner: "
    )
    (second,) = (line for line in lines if line.startswith("RL: 2/"))
    assert second.endswith("  waits: learner 100%")
