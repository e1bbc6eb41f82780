"""One executor as the driver sees it: its process is started, asked, replaced and ended here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from sandbox.pool.executor_actor import ExecutorActor, NodeBackend
from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.errors import SandboxFault, StepcoderError, Unresponsive, last_line
from stepcoder_dist.host.answering import Watch
from stepcoder_dist.host.lost_processes import LostProcesses
from stepcoder_dist.ports import LastWords, unheard
from stepcoder_dist.records import TestSuite, Verdict

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 20.0
_STATS_TIMEOUT_S = 5.0

Answer = TypeVar("Answer")


class ExecutorHandle:
    """One place in the pool of executors. The actor that holds it may change."""

    def __init__(
        self,
        name: str,
        config: SandboxConfig,
        on_loss: Callable[[], None],
        last_words: LastWords = unheard,
    ) -> None:
        """`on_loss` is called for every actor that is given up."""
        self.name = name
        self.actor: Any = None
        self.load = 0
        """Programs sent and not answered."""
        self.seats = 0
        """Places of it that are in the queue, with a program, or parked."""
        self.parked = 0
        """Places that come back to the queue when it works again."""
        self.returning: asyncio.Task[None] | None = None
        """Starts it again after a loss."""
        self.leaving = False
        self.idle = asyncio.Event()
        """Set when it is leaving and its last seat is back."""
        self._config = config
        self._on_loss = on_loss
        self._lost = LostProcesses(last_words)
        self._ready: asyncio.Task[None] | None = None
        """Starts the containers; done while the executor works."""
        self._watch: Watch
        """Over the calls of the actor, from its start on."""

    @property
    def up(self) -> bool:
        return self._ready is not None and self._ready.done()

    @property
    def state(self) -> str:
        """The state for a reader."""
        if self.leaving:
            return "leaving"
        if self._ready is None:
            return "lost"
        return "ready" if self._ready.done() else "starting"

    async def choose(self) -> NodeBackend:
        """Start the process and have it look at its node.

        Raises `MissingEngine`, which names the node, and `SandboxFault`.
        """
        try:
            return await self._in_time(self._process().choose.remote())
        except RayError as error:
            raise await self._not_started(error) from error

    async def start(self, backend: Backend) -> None:
        """Wait until the executor works, starting it if nobody has.

        Raises `SandboxFault` and `MissingEngine`. Then the next call starts another process.
        """
        if self._ready is None:
            actor = self._process()
            self._watch = Watch(actor.stats.remote, self._config.silence_s, self.name)
            starting = self._in_time(actor.start.remote(backend))
            self._ready = asyncio.ensure_future(starting)
        ready = self._ready
        if ready.done() and not ready.cancelled() and ready.exception() is None:
            return  # as for nearly every program
        try:
            await asyncio.shield(ready)
        except (StepcoderError, RayError) as error:
            if self._ready is ready:
                self.give_up()
            if isinstance(error, RayError):
                raise await self._not_started(error) from error
            raise

    async def _not_started(self, error: RayError) -> SandboxFault:
        fault = SandboxFault(f"{self.name} did not start: {last_line(error)}")
        if words := await self._lost.words(self.name, error):
            fault.add_note(words)
        return fault

    async def judge(
        self, backend: Backend, source: str, suite: ray.ObjectRef | TestSuite, problem_id: str
    ) -> Verdict:
        """Raises `SandboxFault`, `ProblemError`, and `ObjectLostError` for a suite that is lost."""
        await self.start(backend)
        actor = self.actor
        try:
            with self._watch.over_call():
                verdict: Verdict = await _said(actor.judge.remote(source, suite, problem_id))
        except (RayActorError, OutOfMemoryError, Unresponsive) as error:
            if self.actor is actor:  # else another program saw it first
                logger.warning("%s is lost and replaced: %s", self.name, _first_line(error))
                self.give_up()
                self._lost.log(self.name, error)
            raise SandboxFault(f"{self.name} is lost: {_first_line(error)}") from error
        return verdict

    async def stats(self) -> dict[str, float]:
        """Return the counters of its containers, by the names of `seat.PoolStats`.

        Raises `TimeoutError` where it does not answer soon.
        """
        async with asyncio.timeout(_STATS_TIMEOUT_S):
            counters: dict[str, float] = await self.actor.stats.remote()
        return counters

    def give_up(self) -> None:
        """End the actor; the next call of `start`, or nobody, starts another in its place."""
        if self.actor is not None:
            self._on_loss()
            with contextlib.suppress(RayError, ValueError):
                ray.kill(self.actor)
        self.actor, self._ready = None, None

    async def end(self) -> None:
        """End the process and its containers."""
        if self.returning is not None:
            self.returning.cancel()
            await asyncio.wait({self.returning})
        if self._ready is not None and not self._ready.done():
            self._ready.cancel()
        await self._lost.logged()
        if self.actor is None:
            return
        with contextlib.suppress(RayError, TimeoutError):  # what is dead needs no end
            await asyncio.wait_for(self.actor.close.remote(), _CLOSE_TIMEOUT_S)
        with contextlib.suppress(RayError, ValueError):
            ray.kill(self.actor)
        self.actor, self._ready = None, None

    def _process(self) -> Any:
        """Return the actor, made where there is none."""
        if self.actor is None:
            actor_class = ray.remote(ExecutorActor).options(
                name=self.name, **self._config.resources.reserved
            )
            self.actor = actor_class.remote(self.name, self._config)
        return self.actor

    async def _in_time(self, answer: Awaitable[Answer]) -> Answer:
        limit_s, resources = self._config.start_timeout_s, self._config.resources
        try:
            async with asyncio.timeout(limit_s):
                return await _said(answer)
        except TimeoutError:
            raise SandboxFault(
                f"{self.name} was not up within sandbox.start_timeout_s = {limit_s:g}; "
                f"`ray status` shows whether a node has room for it ({resources.num_cpus:g} CPUs, "
                f"{resources.num_gpus:g} GPUs{''.join(f', {k}' for k in resources.custom)}), "
                f"`ray logs actor` what it does"
            ) from None


async def _said(answer: Awaitable[Answer]) -> Answer:
    """Return the answer. Raises the executor's own error without the traceback of Ray before it."""
    try:
        return await answer
    except RayTaskError as error:
        if isinstance(error.cause, StepcoderError):
            raise error.cause from None
        raise


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
