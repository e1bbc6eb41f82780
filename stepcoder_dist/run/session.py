"""One RL run from open processes to its last step: compose, restore, train, record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from rich.console import Console

from stepcoder_dist import methods
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, Interrupted, StepcoderError, StopAsked
from stepcoder_dist.host import collector
from stepcoder_dist.host.console import Phase
from stepcoder_dist.host.files import disk_room
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.loop import pipeline
from stepcoder_dist.loop.planner import Planner
from stepcoder_dist.loop.run import LastStep, Run, nothing
from stepcoder_dist.loop.stages.stage_clock import (
    StageClock,
    timed_learner,
    timed_sampler,
    timed_sandbox,
)
from stepcoder_dist.loop.tracing.trace_log import TraceLog
from stepcoder_dist.loop.tracing.traced_ports import traced_learner, traced_sampler
from stepcoder_dist.loop.weight_delivery import WeightDelivery
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.pool_status import ElasticPool
from stepcoder_dist.ports import Learner as LearnerPort, Sampler, Sandbox
from stepcoder_dist.records import Problem
from stepcoder_dist.run import ahead_samples, resumption
from stepcoder_dist.run.run_folder import RunFolder, checkpoints
from stepcoder_dist.run.sinks.metric_sinks import MetricSink
from stepcoder_dist.run.step_records import FolderRecords, save_hf
from stepcoder_dist.text.program import PromptWriter


@dataclass(frozen=True, slots=True)
class Pools:
    """The processes around the learner."""

    sampler: Sampler
    sandbox: Sandbox
    rollouts: ElasticPool | None = None
    """The sampler, where its processes can be counted and resized."""
    executors: ElasticPool | None = None
    """The same of the sandbox."""


def ignored(_step: LastStep) -> None:
    """Do nothing with what was measured of a step."""


async def train(
    run: Run,
    folder: RunFolder,
    sinks: Sequence[MetricSink],
    console: Console,
    *,
    after_step: Callable[[LastStep], None] = ignored,
) -> None:
    """Train to the last step; metrics, samples and checkpoints go to the folder and the sinks.

    `after_step` gets what was measured of every step.

    Raises `Interrupted` when the run was asked to stop, after a checkpoint of its last step, and
    `RunError` for a full disk: a resumed run continues at the checkpoint before.
    """
    weights = WeightDelivery(run.config, run.learner, run.sampler, run.book)

    def announce(signal: str) -> None:
        console.print(
            f"{signal}: stopping with a checkpoint after the learner step in progress, if there "
            "is one; a second signal stops at once without",
            highlight=False,
        )

    folder.write_config()
    # what a stop left out, before the push that wakes actors which share the learner's GPUs
    await save_hf(run, folder, run.book.version)
    if run.between_steps is not nothing:
        run.between_steps = run.trace.around("driver/evaluations", "evaluate", run.between_steps)
    run.sampler.refresh_with(weights.refresh)
    await weights.first()
    await run.between_steps(run.book.version)
    left = run.config.train.steps - run.book.version
    with (
        collector.seldom(),
        disk_room.needed_by_run(folder.path),
        Phase(console, "RL", left, lines=left) as phase,
        run.stop.heed(announce),
    ):
        records = FolderRecords(run, folder, sinks, phase, after_step)
        run.stages.take()  # a step's seconds begin with the loops
        run.trace.begin_steps()
        try:
            await pipeline.run_loops(run, weights, records)
            await records.settle()
        except StopAsked:
            try:
                kept = await records.keep_last_step()
            except (StepcoderError, OSError) as error:  # the signal may have reached the learner
                kept = f"no checkpoint of step {run.book.version}: {error}"
            raise Interrupted(run.stop.signal, kept) from None
        except Exception:
            with suppress(Exception):  # the user reads the first error
                await records.settle()
            raise
        finally:
            records.end()
            await records.drop()


def compose(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    learner: LearnerPort,
    stop: StopRequest | None = None,
    sources: Mapping[str, str] | None = None,
) -> Run:
    """Join the parts of one run, at its beginning. `sources` come from `run.digests`."""
    if methods.REWARDS[config.reward.kind].reference:
        problems = [
            replace(each, tests=replace(each.tests, reference=each.reference)) for each in problems
        ]
    curriculum = Curriculum(config.curriculum, problems)
    planner = Planner(
        [problem.problem_id for problem in problems],
        curriculum,
        seed=config.seed,
        problems_per_step=config.problems_per_step,
        samples_per_problem=config.sampling.samples_per_problem,
    )
    stages, trace = StageClock(), TraceLog(on=config.train.trace)
    stages.hear = trace.working
    return Run(
        config=config,
        problems={problem.problem_id: problem for problem in problems},
        curriculum=curriculum,
        planner=planner,
        writer=writer,
        sampler=timed_sampler(traced_sampler(pools.sampler, trace), stages),
        sandbox=timed_sandbox(pools.sandbox, stages),
        learner=timed_learner(traced_learner(learner, trace), stages),
        stages=stages,
        trace=trace,
        executors=pools.executors,
        sources=sources or {},
        stop=stop or StopRequest(),
    )


def saved_state(
    config: RunConfig, folder: RunFolder, sources: Mapping[str, str], *, done_too: bool = False
) -> dict[str, Any]:
    """Read the run's own part of the folder's newest checkpoint and check it.

    Raises `ConfigError` for one that is damaged, or comes from another config or other `sources`;
    also for one of the run's last step, unless `done_too`.
    """
    newest = checkpoints(folder.path)[-1]
    state = resumption.read_state(newest)
    version = state["version"]
    resumption.check(state["config"], config, str(newest))
    resumption.check_sources(state["sources"], sources, str(newest))
    if config.train.steps <= version and not done_too:
        raise ConfigError(
            f"{folder.path}: step {version} is done and train.steps = {config.train.steps}; "
            "raise it to continue"
        )
    return state


async def restore(run: Run, folder: RunFolder) -> None:
    """Resume from the folder's newest checkpoint; of the last step too: no step is left then.

    Raises `UserError` for one that is damaged or comes from another config.
    """
    newest = checkpoints(folder.path)[-1]
    state = saved_state(run.config, folder, run.sources, done_too=True)
    run.load_state(state)
    run.book.restore_judged(ahead_samples.read(newest, run.problems, run.config))
    version, step = await run.learner.load(str(newest / "learner")), run.book.version
    if version != step:
        raise ConfigError(
            f"{newest} is damaged: the run is at step {step}, its learner at {version}; "
            f"remove {newest.name} to resume from the checkpoint before it"
        )
    folder.cut_after(run.book.version)
    account = folder.open_ledger(run.planner.problem_ids)
    under_way = chain.from_iterable(run.book.planned_groups())
    account.resumed(run.book.version, run.book.planned_steps, under_way)
