"""The learner's Ray actors as one thing: started together, called together, dead together.

The driver knows a rank's class by its name alone: `LearnerRank` makes it in the rank's process, so
the driver needs neither torch nor DeepSpeed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import (
    LearnerError,
    StepcoderError,
    TransferLost,
    Unresponsive,
    last_line,
)
from stepcoder_dist.host.answering import PINGS, while_answering
from stepcoder_dist.ports import LastWords, Placement, anywhere, unheard

if TYPE_CHECKING:
    from learner.rank_process import Rank

logger = logging.getLogger(__name__)

CPU_ENVIRONMENT = {
    # DeepSpeed chooses its accelerator when it is imported: before any code of ours
    "DS_ACCELERATOR": "cpu",
    # OpenMP's threads spin for each other; the default (300,000 turns) makes a step over 8 times
    # slower next to a second busy process, sleeping at once half as slow again when alone
    "GOMP_SPINCOUNT": "1000",
}


ASIDE = "aside"
"""The group of calls that run while others do: Ray has a thread for it."""
PULSE = "pulse"
"""The group of `answer`, which a rank that lives does at once whatever it computes."""
END_S = 60.0
"""How long Ray may take to say that a rank which was killed has ended."""
DEATH_S = 2.0
"""How long after a rank's failure Ray may take to notice that another rank's process is dead."""


class LearnerRank:
    """The Ray actor of one rank. It imports the class that does the work in its own process."""

    def __init__(self, name: str, worker: Callable[[], type[Rank]], *arguments: Any) -> None:
        """`arguments` are those of `Rank`."""
        self._name = name
        self._worker = worker()(*arguments)

    def __repr__(self) -> str:
        """Return its name: Ray shows it in the dashboard and before each line that it prints."""
        return self._name

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the worker; Ray passes the objects of references in `arguments`.

        Ray has one thread for calls, which take turns, and one for those of the group `ASIDE`.
        """
        return getattr(self._worker, method)(*arguments)

    def answer(self) -> None:
        """Show that the process lives. It has a thread of its own, the group `PULSE`."""


class RankGroup:
    """N actors `<name>-rank-<r>` of one worker class, joined in one process group.

    After the first failure the group is broken: ranks that wait in a collective cannot be called
    back, so every later call raises and `close` kills them.
    """

    def __init__(
        self,
        worker: Callable[[], type[Rank]],
        config: RunConfig,
        checkpoint: str,
        *,
        name: str = "learner",
        placement: Placement = anywhere,
        last_words: LastWords = unheard,
    ) -> None:
        """`worker` imports the ranks' class. It is called in the processes of the ranks only."""
        self._worker = worker
        self._placement = placement
        self._last_words = last_words
        self._config = config
        self._checkpoint = checkpoint
        self._names = [f"{name}-rank-{rank}" for rank in range(config.learner.ranks)]
        self._actors: list[Any] = []
        self._broken = ""
        self._first: LearnerError | None = None
        """What broke the group: later calls are refused because of it."""
        self._started = False

    async def start(self) -> None:
        """Start every rank and let them join. Raises `LearnerError`, `ConfigError` from a rank."""
        resources = self._config.learner.resources
        try:
            self._create()
        except ValueError as error:  # Ray's answer to a name that is taken
            await self.close()
            raise LearnerError(
                f"another learner of this job still runs ({error}); close it first"
            ) from None
        limit_s = self._config.learner.start_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                host, port = await self.call_one(0, "rendezvous")
                await self.call("start", host, port)
            self._started = True
        except TimeoutError:
            await self.close()
            raise LearnerError(
                f"learner.ranks = {len(self._names)} did not start within {limit_s:.0f} s "
                f"(learner.start_timeout_s); each needs {resources.num_cpus} CPUs and "
                f"{resources.num_gpus} GPUs, the cluster has {_capacity()}"
            ) from None
        except StepcoderError:
            await self.close()
            raise

    def _create(self) -> None:
        resources = self._config.learner.resources
        environment = {} if resources.num_gpus else CPU_ENVIRONMENT
        actor_class = ray.remote(concurrency_groups={ASIDE: 1, PULSE: 1})(LearnerRank)
        for rank, name in enumerate(self._names):
            options = actor_class.options(
                name=name,
                **resources.reserved,
                **self._placement(rank),
                max_restarts=0,
                runtime_env={"env_vars": environment},
            )
            self._actors.append(
                options.remote(
                    name, self._worker, self._config, self._checkpoint, rank, len(self._names)
                )
            )

    async def call(self, method: str, *arguments: Any, aside: bool = False) -> list[Any]:
        """Call a method on every rank; return the answers by rank.

        Raises `LearnerError` after `learner.step_timeout_s`, whatever the method.
        `aside`: while other calls run. Such a method is no collective.
        """
        return await self._gather(range(len(self._actors)), method, arguments, aside=aside)

    async def call_one(self, rank: int, method: str, *arguments: Any, aside: bool = False) -> Any:
        """Call a method that is no collective on one rank."""
        return (await self._gather([rank], method, arguments, aside=aside))[0]

    def break_off(self, reason: str) -> None:
        """Refuse every later call: the ranks may be stuck."""
        self._broken = self._broken or reason

    async def check(self) -> None:
        """Raise `LearnerError` where a rank is dead, or answers nothing for `learner.silence_s`."""
        calls = [actor.answer.options(concurrency_group=PULSE).remote() for actor in self._actors]
        try:
            async with asyncio.timeout(self._config.learner.silence_s):
                answers = await asyncio.gather(*calls, return_exceptions=True)
        except TimeoutError:
            self.break_off("a rank hung")
            raise LearnerError("a learner rank hangs; resume from the last checkpoint") from None
        for name, answer in zip(self._names, answers, strict=False):
            if isinstance(answer, (RayActorError, OutOfMemoryError)):
                self.break_off(f"{name} died")
                first_line = str(answer).strip().splitlines()[0]
                died = LearnerError(f"{name} died ({first_line}); resume from the last checkpoint")
                if self._first is None and (words := await self._last_words(answer)):
                    died.add_note(words)
                self._first = self._first or died
                raise self._first

    async def watch(self) -> None:
        """Raise `LearnerError` when a rank dies or hangs, also while nothing is asked of it."""
        while True:
            await asyncio.sleep(self._config.learner.silence_s / PINGS)
            await self.check()

    async def close(self) -> None:
        """End every rank's process; safe to call twice."""
        actors, self._actors = self._actors, []
        self.break_off("the learner is closed")
        for actor in actors:
            ray.kill(actor)
        # a name is free again only when Ray has seen its process end
        await asyncio.gather(*(_ended(actor) for actor in actors))

    async def _gather(
        self,
        ranks: Sequence[int] | range,
        method: str,
        arguments: Sequence[Any],
        *,
        aside: bool,
    ) -> list[Any]:
        if self._broken or not self._actors:
            raise LearnerError(
                f"the learner cannot {method}: {self._broken or 'it was not started'}; "
                "start a new one and load the last checkpoint"
            ) from self._first
        calls = [
            asyncio.ensure_future(self._call(rank, method, arguments, aside=aside))
            for rank in ranks
        ]
        limit_s = self._config.learner.step_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                # the first failure is the cause; the other ranks may wait for it for ever
                return list(await asyncio.gather(*calls))
        except TimeoutError:
            self.break_off(f"{method} did not end")
            raise LearnerError(
                f"the learner did not end {method} within {limit_s:g} s "
                "(learner.step_timeout_s); resume from the last checkpoint"
            ) from None
        except LearnerError as error:
            if self._broken:
                self._first = self._first or error
            await self._explain(error, calls)
            raise
        finally:
            for call in calls:
                call.cancel()

    async def _explain(self, error: LearnerError, calls: Sequence[asyncio.Future[Any]]) -> None:
        """Note at the first failure which rank died, if one did, and what it wrote last.

        A rank whose peer has died can notice it before Ray does.
        """
        if error.__cause__ is None:  # what the rank says itself
            return
        if not isinstance(error.__cause__, RayActorError):
            await asyncio.wait(calls, timeout=DEATH_S)
        ended = [call.exception() for call in calls if call.done() and not call.cancelled()]
        for other in ended:
            if isinstance(other, LearnerError) and isinstance(other.__cause__, RayActorError):
                if other is not error:
                    error.add_note(str(other))
                if words := await self._last_words(other.__cause__):
                    error.add_note(words)

    async def _while_answering(self, rank: int, call: Awaitable[Any]) -> Any:
        if not self._started:  # the start has a deadline, and imports that let nothing else run
            return await call
        ping = self._actors[rank].answer.options(concurrency_group=PULSE).remote
        silence_s = self._config.learner.silence_s
        return await while_answering(call, ping, silence_s, self._names[rank])

    async def _call(self, rank: int, method: str, arguments: Sequence[Any], *, aside: bool) -> Any:
        name = self._names[rank]
        # Ray's dashboard and the process table show the worker's method
        group = {"concurrency_group": ASIDE} if aside else {}
        call = self._actors[rank].call.options(name=method, **group)
        try:
            return await self._while_answering(rank, call.remote(method, *arguments))
        except Unresponsive as error:
            self.break_off(f"{name} hung in {method}")
            raise LearnerError(
                f"{error} in {method} (learner.silence_s); resume from the last checkpoint"
            ) from None
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, TransferLost):
                self.break_off(f"{name} lost a weight transfer")
            if isinstance(cause, StepcoderError):
                raise cause from None
            self.break_off(f"{name} failed in {method}")
            raise LearnerError(f"{name} failed in {method}: {cause!r}") from error
        except RayActorError as error:
            self.break_off(f"{name} died in {method}")
            if error.actor_init_failed:
                raise LearnerError(f"{name} did not start: {last_line(error)}") from None
            raise LearnerError(
                f"{name} died in {method} ({str(error).strip().splitlines()[0]}); "
                "resume from the last checkpoint"
            ) from error
        except RayError as error:  # of a class that only the rank's machine knows: torch's
            self.break_off(f"{name} failed in {method}")
            raise LearnerError(f"{name} failed in {method}: {last_line(error)}") from error


async def _ended(actor: Any) -> None:
    try:
        async with asyncio.timeout(END_S):
            await actor.__ray_ready__.remote()
    except RayError:  # one that Ray killed for memory raises that
        return
    except TimeoutError:
        logger.warning("Ray has not said within %g s that %r, now killed, ended", END_S, actor)


def _capacity() -> str:
    total = ray.cluster_resources()
    return f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs in all"
