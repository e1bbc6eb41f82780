"""Resizes the pools of a run by itself, where the run file says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import StepcoderError
from stepcoder_dist.launch.control.answers import RunControl
from stepcoder_dist.loop.run import LastStep
from stepcoder_dist.loop.stages import autoscaling
from stepcoder_dist.loop.stages.autoscaling import Bounds, Trend
from stepcoder_dist.loop.stages.bottleneck import Sizes
from stepcoder_dist.loop.stages.stage_clock import StageSeconds

logger = logging.getLogger(__name__)

Rule = Callable[[Trend, StageSeconds, Sizes, Bounds], tuple[Trend, int]]


@dataclass
class _Pool:
    name: str
    rule: Rule
    bounds: Bounds
    size: Callable[[Sizes], int]
    trend: Trend = field(default_factory=Trend)
    resizing: asyncio.Task[None] | None = None


class Autoscaler:
    """Looks at every step; a resize runs next to the loops, one at a time for each pool."""

    def __init__(
        self,
        config: RunConfig,
        control: RunControl,
        sizes: Callable[[], Sizes],
        note: Callable[[str], None],
    ) -> None:
        """`note` gets a line for every change."""
        self._control = control
        self._sizes = sizes
        self._note = note
        self._pools = []
        actors, sandbox = config.actors, config.sandbox
        if actors.autoscale:
            bounds = Bounds(actors.min, actors.most)
            self._pools.append(
                _Pool("rollouts", autoscaling.rollouts, bounds, lambda sizes: sizes.rollouts)
            )
        if sandbox.autoscale:
            bounds = Bounds(sandbox.min, sandbox.most)
            self._pools.append(
                _Pool("sandboxes", autoscaling.executors, bounds, lambda sizes: sizes.executors)
            )

    def after_step(self, step: LastStep) -> None:
        """Decide for each pool, and begin what is decided."""
        sizes = self._sizes()
        for pool in self._pools:
            if pool.resizing is not None and not pool.resizing.done():
                continue  # the step shows a pool that is being changed
            pool.trend, wanted = pool.rule(pool.trend, step.seconds, sizes, pool.bounds)
            now = pool.size(sizes)
            if wanted != now:
                self._note(f"step {step.version}: autoscale {now} → {wanted} {pool.name}")
                pool.resizing = asyncio.create_task(self._resize(pool, wanted))

    async def _resize(self, pool: _Pool, wanted: int) -> None:
        try:
            # a process that finds no room asks Ray's autoscaler for a node, where there is one
            await self._control.scale({pool.name: wanted}, for_nodes=True)
        except StepcoderError as error:
            logger.warning("autoscale: %s", error)
            self._note(f"autoscale: no {wanted} {pool.name}: {error}")

    async def close(self) -> None:
        """Stop what is under way; the pools are closed by their owner."""
        resizing = [pool.resizing for pool in self._pools if pool.resizing is not None]
        for task in resizing:
            task.cancel()
        await asyncio.gather(*resizing, return_exceptions=True)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        config: RunConfig,
        control: RunControl,
        sizes: Callable[[], Sizes],
        note: Callable[[str], None],
    ) -> AsyncIterator[Self]:
        scaler = cls(config, control, sizes, note)
        try:
            yield scaler
        finally:
            await scaler.close()
