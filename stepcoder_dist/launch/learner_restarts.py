"""A run that outlives its learner: it is resumed in this process, from the newest checkpoint.

Pools stay open. The ranks are started again, and the run's state is what `--resume` reads.
The actors get the weights of the checkpoint; what was sampled for later steps is sampled again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import Interrupted, LearnerError, RunError, notes
from stepcoder_dist.loop.run import Run
from stepcoder_dist.run.run_folder import RunFolder, checkpoints

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class Attempt:
    """What one learner is used for."""

    resume: bool
    run: Run | None = None
    """Set when the learner's ranks are up."""


async def with_restarts(
    config: RunConfig,
    folder: RunFolder,
    attempt: Callable[[Attempt], Awaitable[None]],
    note: Callable[[str], None],
    *,
    resume: bool,
) -> None:
    """Make attempts until one ends well: at most `learner.restarts` in a row without progress.

    Progress is a step that no attempt has finished before: a step that always kills the learner
    ends the run, however many steps lie between it and the checkpoint. Raises the first
    `LearnerError` of those without progress; also at once for a learner that has never worked, and
    a run without a checkpoint. Raises `Interrupted` for a run that was asked to stop and lost its
    learner on the way.
    """
    first: LearnerError | None = None
    furthest = failures = 0
    while True:
        now = Attempt(resume)
        try:
            await attempt(now)
        except LearnerError as refused:
            # a call that was refused, because of what broke the ranks before
            error = refused.__cause__ if isinstance(refused.__cause__, LearnerError) else refused
            if now.run is None and first is None:
                raise
            if now.run is not None and now.run.stop.asked:
                _log(notes(error))
                raise Interrupted(now.run.stop.signal, str(error)) from None
            reached = now.run.book.version if now.run is not None else 0
            if first is None or reached > furthest:
                first, failures, furthest = error, 0, max(reached, furthest)
            failures += 1
            if not _may_restart(config, folder, failures):
                raise first from None
            newest = int(checkpoints(folder.path)[-1].name.removeprefix("step_"))
            pause_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
            what = str(error).removesuffix("; resume from the last checkpoint")
            note(
                f"{what}; starting the learner again in {pause_s:g} s from the checkpoint of step "
                f"{newest} (restart {failures} of {config.learner.restarts})"
            )
            _log(notes(error))
            if now.run is not None:
                now.run.sampler.refresh_with(_no_learner)
        else:
            return
        await asyncio.sleep(pause_s)  # what killed it may need a moment to be over
        resume = True


def _may_restart(config: RunConfig, folder: RunFolder, failures: int) -> bool:
    there = checkpoints(folder.path)
    steps_left = there and int(there[-1].name.removeprefix("step_")) < config.train.steps
    return failures <= config.learner.restarts and bool(steps_left)


def _log(words: Sequence[str]) -> None:
    for each in words:
        logger.warning("%s", each)


async def _no_learner(_targets: Sequence[Any]) -> None:
    raise RunError("the learner starts again; its first push brings every actor the weights")
