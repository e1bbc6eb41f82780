"""One RL run from open processes to its last step: compose, restore, train, record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from stepcoder_dist import pipeline
from stepcoder_dist.config import RunConfig
from stepcoder_dist.curriculum import Curriculum
from stepcoder_dist.metric_sinks import MetricSink
from stepcoder_dist.planner import Planner
from stepcoder_dist.ports import Executor, Learner, Sampler
from stepcoder_dist.program import PromptWriter
from stepcoder_dist.progress import Phase
from stepcoder_dist.records import Problem, Trajectory, WeightVersion
from stepcoder_dist.report_table import status
from stepcoder_dist.run_folder import RunFolder, checkpoints
from stepcoder_dist.trajectory_buffer import Fate


@dataclass(frozen=True, slots=True)
class Pools:
    """The processes around the learner."""

    sampler: Sampler
    executor: Executor


async def train(
    run: pipeline.Run, folder: RunFolder, sinks: Sequence[MetricSink], console: Console
) -> None:
    """Train to the last step; metrics, samples and checkpoints go to the folder and the sinks."""

    async def refresh(targets: Sequence[Any]) -> None:
        await run.learner.publish(targets, deadline_s=run.config.weights.deadline_s)

    folder.write_config()
    # Also at version 0: it shows that both sides read the same checkpoint.
    await refresh(await run.sampler.weight_targets())
    run.sampler.refresh_with(refresh)
    with Phase(console, "RL", run.config.train.steps - run.version) as phase:

        def on_step(figures: dict[str, float], batch: Sequence[Trajectory]) -> None:
            for sink in sinks:
                sink.write(int(figures["step"]), figures)
            judged = {
                id_: run.judged.pop(id_) for t in batch if (id_ := t.ticket.sample_id) in run.judged
            }
            folder.append_samples(int(figures["step"]), batch, judged)
            phase.advance(status(figures))

        async def save(run: pipeline.Run, version: WeightVersion) -> None:
            draft = folder.begin_checkpoint(version)
            await run.learner.save(str(draft / "learner"))
            folder.commit_checkpoint(draft, state_of(run, version))

        await pipeline.train(run, on_step, save)


def compose(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    learner: Learner,
) -> pipeline.Run:
    """Join the parts of one run, at its beginning."""
    curriculum = Curriculum(config.curriculum, problems)
    planner = Planner(
        [problem.problem_id for problem in problems],
        curriculum,
        seed=config.seed,
        problems_per_step=config.problems_per_step,
        samples_per_problem=config.sampling.samples_per_problem,
    )
    return pipeline.Run(
        config=config,
        problems={problem.problem_id: problem for problem in problems},
        curriculum=curriculum,
        planner=planner,
        writer=writer,
        sampler=pools.sampler,
        executor=pools.executor,
        learner=learner,
    )


def state_of(run: pipeline.Run, version: WeightVersion) -> dict[str, Any]:
    """What a checkpoint holds beside the learner: plain JSON data."""
    return {
        "version": version,
        "curriculum": run.curriculum.state_dict(),
        "planner": run.planner.state_dict(),
        "samples": {fate.value: number for fate, number in run.ledger.counts.items()},
    }


async def restore(run: pipeline.Run, folder: RunFolder) -> None:
    """Go on at the folder's newest checkpoint.

    Raises `UserError` for one that is damaged or comes from another config.
    """
    newest = checkpoints(folder.path)[-1]
    state = json.loads((newest / "run.json").read_text(encoding="utf-8"))
    run.curriculum.load_state_dict(state["curriculum"])
    run.planner.load_state_dict(state["planner"])
    run.ledger.counts.update({Fate(name): number for name, number in state["samples"].items()})
    await run.begin_at(await run.learner.load(str(newest / "learner")))
    folder.cut_after(run.version)
