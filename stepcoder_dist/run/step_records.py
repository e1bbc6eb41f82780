"""What a run writes after each step, and in which order: rows, then a checkpoint."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import RunError
from stepcoder_dist.evaluation.table import status
from stepcoder_dist.host.console import Phase
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.planner import is_spare
from stepcoder_dist.loop.run import LastStep, Run
from stepcoder_dist.loop.stages.bottleneck import bottleneck
from stepcoder_dist.records import StepReport, WeightVersion
from stepcoder_dist.run import ahead_samples, nonfinite_batches
from stepcoder_dist.run.account import ledger
from stepcoder_dist.run.run_folder import RunFolder, checkpoints
from stepcoder_dist.run.sinks.metric_sinks import MetricSink
from stepcoder_dist.run.tracing.trace_rows import TraceFile

logger = logging.getLogger(__name__)


class FolderRecords:
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
        await save_hf(self._run, self._folder, self._version)

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


async def save_hf(run: Run, folder: RunFolder, version: WeightVersion) -> None:
    """Write `hf/step_N` where `train.save_hf_every` asks for it and it is not there."""
    every, place = run.config.train.save_hf_every, folder.hf_folder(version)
    if every and version and version % every == 0 and not place.exists():
        await run.learner.save_hf(str(place))
        if not place.exists():
            raise RunError(
                f"{place}: the learner's ranks wrote nothing there; run_dir has to be on a file "
                "system that driver and learner share"
            )
