"""One RL run from open processes to its last step: compose, restore, train, record."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, Interrupted, RunError, StepcoderError, StopAsked
from stepcoder_dist.evaluation.table import status
from stepcoder_dist.host.console import Phase
from stepcoder_dist.host.files import disk_room
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.loop import pipeline
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.planner import Planner, is_spare
from stepcoder_dist.loop.run import STATE_KEYS, LastStep, Run, nothing
from stepcoder_dist.loop.stages.bottleneck import bottleneck
from stepcoder_dist.loop.stages.stage_clock import (
    StageClock,
    timed_learner,
    timed_sampler,
    timed_sandbox,
)
from stepcoder_dist.loop.trace_log import TraceLog, traced_learner, traced_sampler
from stepcoder_dist.loop.weight_delivery import WeightDelivery
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.pool_status import ElasticPool
from stepcoder_dist.ports import Learner as LearnerPort, Sampler, Sandbox
from stepcoder_dist.records import Problem, StepReport, WeightVersion
from stepcoder_dist.run import ahead_samples, nonfinite_batches, resumption
from stepcoder_dist.run.account import ledger
from stepcoder_dist.run.run_folder import RunFolder, checkpoints
from stepcoder_dist.run.sinks.metric_sinks import MetricSink
from stepcoder_dist.run.tracing.trace_rows import TraceFile
from stepcoder_dist.text.program import PromptWriter

logger = logging.getLogger(__name__)


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
    await _save_hf(run, folder, run.book.version)
    if run.between_steps is not nothing:
        run.between_steps = run.trace.around("driver/evaluations", "evaluate", run.between_steps)
    run.sampler.refresh_with(weights.refresh)
    await weights.first()
    await run.between_steps(run.book.version)
    left = run.config.train.steps - run.book.version
    with (
        disk_room.needed_by_run(folder.path),
        Phase(console, "RL", left, lines=left) as phase,
        run.stop.heed(announce),
    ):
        records = _Records(run, folder, sinks, phase, after_step)
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


class _Records:
    """`pipeline.StepRecords` in a run folder.

    Rows are written first, then the checkpoint, which appears by one rename: maybe some steps
    later, for the ranks write it while the run continues. After a crash at any point the rows reach
    at least the newest checkpoint, and `restore` drops those beyond it.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        sinks: Sequence[MetricSink],
        phase: Phase,
        after_step: Callable[[LastStep], None],
    ) -> None:
        self._run = run
        self._folder = folder
        self._sinks = sinks
        self._phase = phase
        self._after_step = after_step
        self._version, self._state = run.book.version, run.frozen()
        self._write: asyncio.Task[None] | None = None
        """Writes a checkpoint, and makes it visible when the rows of its step are there."""
        self._rows: asyncio.Future[Sequence[JudgedSample]]
        self._rows = asyncio.get_running_loop().create_future()
        """Done when they are; its result is what the checkpoint holds of later steps."""
        self._write_s: float | None = None
        """How long the last write took, until a row has it."""
        self._ledger = folder.open_ledger(run.planner.problem_ids)
        self._trace = TraceFile(folder.path, run.trace)

    def remember(self, version: WeightVersion) -> None:
        self._version, self._state = version, self._run.frozen()
        self._ledger.remember(version, self._run.book.account.take())

    async def draft(self) -> None:
        await self.settle()  # one at a time: each is a copy in the host's memory
        draft = await asyncio.to_thread(self._folder.begin_checkpoint, self._version)
        writing = await self._run.learner.begin_save(str(draft / "learner"))
        self._rows = asyncio.get_running_loop().create_future()
        self._write = asyncio.create_task(self._finish(writing, draft, self._state(), self._rows))

    async def _finish(
        self,
        writing: Awaitable[None],
        draft: Path,
        state: Mapping[str, Any],
        rows: asyncio.Future[Sequence[JudgedSample]],
    ) -> None:
        began = time.monotonic()
        await writing
        # one that was planned since, in place of a lost sample, is planned again; one in the place
        # of a flat group too, and is then judged already
        known = {ticket["sample_id"] for ticket in state["on_their_way"]}
        ahead = [e for e in await rows if e.sample_id in known or is_spare(e.sample_id)]
        await asyncio.to_thread(ahead_samples.write, draft, ahead)
        await asyncio.to_thread(self._folder.commit_checkpoint, draft, state)
        self._write_s = time.monotonic() - began
        await asyncio.to_thread(self._folder.remove_old_checkpoints)

    async def settle(self) -> None:
        """Wait for the checkpoint that is being written. Raises what keeps it from its place."""
        if self._write is None:
            return
        if not self._rows.done():  # the run ended before they were written
            await self.drop()
            return
        # whoever waits here may be cancelled, the write is not
        await asyncio.wait({self._write})
        write, self._write = self._write, None
        write.result()

    async def drop(self) -> None:
        """End a write that nobody waited for; its draft goes with the folder's `close`."""
        write, self._write = self._write, None
        if write is not None:
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)

    async def save_hf(self) -> None:
        await _save_hf(self._run, self._folder, self._version)

    def commit(
        self,
        figures: dict[str, float],
        batch: Sequence[JudgedSample],
        ahead: Sequence[JudgedSample] | None = (),
    ) -> None:
        step = int(figures["step"])
        last = self._measured(step)
        figures = figures | last.seconds.figures()
        if self._write_s is not None:
            figures, self._write_s = figures | {"checkpoint_write_s": self._write_s}, None
        for sink in self._sinks:
            sink.write(step, figures)
        self._folder.append_samples(step, batch)
        self._ledger.write(step)
        self._trace.write(step)
        if ahead is not None and not self._rows.done():
            self._rows.set_result(ahead)
        self._phase.advance(f"{status(figures)}  {last.bottleneck.short}")
        if self._write is not None and self._write.done():
            self._write.result()  # a checkpoint that cannot be written ends the run now
        self._after_step(last)

    def _measured(self, step: WeightVersion) -> LastStep:
        """Take the step's seconds; say what held it up where that is another stage than before."""
        run, before = self._run, self._run.last_step
        seconds = run.stages.take()
        found = bottleneck(seconds, run.sizes())
        run.last_step = LastStep(step, seconds, found)
        logger.info("step %d: %s", step, found.text)
        if found.stage and (before is None or before.bottleneck.stage != found.stage):
            self._phase.note(f"step {step}: {found.text}")
        return run.last_step

    def keep_batch(self, report: StepReport, batch: Sequence[JudgedSample]) -> str:
        try:
            return str(nonfinite_batches.write(self._folder.path, report, batch))
        except OSError as error:  # what it would explain is worse
            return f"not written ({error})"

    async def keep(self, ahead: Sequence[JudgedSample] = ()) -> None:
        version = self._version
        await self.settle()
        done = [path.name for path in checkpoints(self._folder.path)]
        if version > 0 and f"step_{version:06d}" not in done:
            await self.draft()
            self._rows.set_result(ahead)
            await self.settle()

    async def keep_last_step(self) -> str:
        """Write the last finished step's checkpoint if it has none; return a line for the user."""
        version = self._version
        await self.keep()
        if version == 0:
            return "no step was finished, so there is no checkpoint"
        kept = f"checkpoint of step {version} in {self._folder.path}"
        if version >= self._run.config.train.steps:
            return kept
        return f"{kept}; `stepcoder train --resume` continues at step {version + 1}"

    def end(self) -> None:
        """Account for what the end of the loops left without a step."""
        self._trace.end()
        try:
            self._ledger.end(self._run.book.account.take())
        except OSError as error:  # the run has ended, and perhaps because the disk is full
            logger.warning("%s: the last rows are not written: %s", ledger.NAME, error)


async def _save_hf(run: Run, folder: RunFolder, version: WeightVersion) -> None:
    """Write `hf/step_N` where `train.save_hf_every` asks for it and it is not there."""
    every, place = run.config.train.save_hf_every, folder.hf_folder(version)
    if every and version and version % every == 0 and not place.exists():
        await run.learner.save_hf(str(place))
        if not place.exists():
            raise RunError(
                f"{place}: the learner's ranks wrote nothing there; run_dir has to be on a file "
                "system that driver and learner share"
            )


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


def saved_state(config: RunConfig, folder: RunFolder, sources: Mapping[str, str]) -> dict[str, Any]:
    """Read the run's own part of the folder's newest checkpoint and check it.

    Raises `ConfigError` for one that is damaged, or comes from another config or other `sources`.
    """
    newest = checkpoints(folder.path)[-1]
    try:
        state: dict[str, Any] = json.loads((newest / "run.json").read_text(encoding="utf-8"))
        saved, version = dict(state["config"]), int(state["version"])
        if missing := STATE_KEYS - state.keys():
            raise KeyError(", ".join(sorted(missing)))  # noqa: TRY301 - one message for all of it
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{newest / 'run.json'} is damaged ({type(error).__name__}: {error}); remove "
            f"{newest.name} to resume from the checkpoint before it"
        ) from None
    resumption.check(saved, config, str(newest))
    resumption.check_sources(state["sources"], sources, str(newest))
    if config.train.steps <= version:
        raise ConfigError(
            f"{folder.path}: step {version} is done and train.steps = {config.train.steps}; "
            "raise it to continue"
        )
    return state


async def restore(run: Run, folder: RunFolder) -> None:
    """Resume from the folder's newest checkpoint.

    Raises `UserError` for one that is damaged or comes from another config.
    """
    newest = checkpoints(folder.path)[-1]
    state = saved_state(run.config, folder, run.sources)
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
