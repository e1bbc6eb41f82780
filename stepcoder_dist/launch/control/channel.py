"""The named actor between a run and those who ask it.

    stepcoder scale ──ask──▶ ControlActor ◀──next_question── the run's driver
                    ◀─────────────────────── answer ────────

The driver of a run is no Ray actor, so nobody can call it. It keeps one call to the control actor
open, which returns with the next question. The actor belongs to the driver and ends with it. What
travels is plain JSON data, so that both sides need not have the same version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import ray
from ray.exceptions import RayError

from stepcoder_dist.errors import StepcoderError
from stepcoder_dist.launch.control.question import NAMESPACE, Answer, Question

logger = logging.getLogger(__name__)

_ACTORS = 5
"""Control actors that a run makes, one after the other, where it loses them."""

_HEARD_S = 60.0
"""How long a control actor may take to take an answer."""

Answering = Callable[[Question], Awaitable[Answer]]


class ControlActor:
    """Passes questions to a run and its answers back. Made through `ray.remote`."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[tuple[int, Question]] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = count()

    async def ask(self, question: Question) -> Answer:
        """Return the run's answer. A caller who stops waiting does not take the question back."""
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._asked.put((number, question))
        try:
            return await answer
        finally:
            del self._answers[number]

    async def next_question(self) -> tuple[int, Question]:
        """Return the next question with its number, when there is one."""
        return await self._asked.get()

    async def answer(self, number: int, answer: Answer) -> None:
        waiting = self._answers.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


@asynccontextmanager
async def answering(run: str, answer: Answering) -> AsyncIterator[None]:
    """Answer what the run of this name is asked, for as long as the block lasts.

    A run must not end because it cannot be asked: trouble with the actor is logged.
    """
    serving = asyncio.create_task(_serve(run, answer))
    try:
        yield
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def _serve(run: str, answer: Answering) -> None:
    for _ in range(_ACTORS):
        actor = _made(run)
        try:
            await _serve_through(actor, answer)
        except* RayError as errors:
            logger.warning("the control actor of run %s is lost: %s", run, errors.exceptions[0])
        finally:
            with contextlib.suppress(RayError, ValueError):
                ray.kill(actor)
    logger.warning("run %s cannot be asked any more: %d control actors were lost", run, _ACTORS)


async def _serve_through(actor: Any, answer: Answering) -> None:
    async def reply(number: int, question: Question) -> None:
        try:
            said = await answer(question)
        except StepcoderError as error:
            said = {"error": str(error)}
        try:
            async with asyncio.timeout(_HEARD_S):
                await actor.answer.remote(number, said)
        except TimeoutError:
            logger.warning("an answer was not taken within %g s: nobody has it", _HEARD_S)

    async with asyncio.TaskGroup() as replies:
        while True:
            number, question = await actor.next_question.remote()
            replies.create_task(reply(number, question))


def _made(run: str) -> Any:
    """Return a control actor: named for the run, with a number where a live run has the name."""
    actor_class = ray.remote(ControlActor)
    for number in count(1):
        name = run if number == 1 else f"{run}~{number}"
        with contextlib.suppress(ValueError):  # Ray's answer where the name is taken
            return actor_class.options(name=name, namespace=NAMESPACE, num_cpus=0).remote()
    raise AssertionError("numbers do not end")
