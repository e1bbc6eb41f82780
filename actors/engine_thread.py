"""The one thread that drives a vLLM engine.

vLLM's engine is not thread-safe, so everything that touches it is a command that this thread
obeys between two steps of the engine. With nothing that it may decode and no command that may run,
it blocks on its inbox. Every command is answered: with its result, or with `EngineLost`.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from vllm import SamplingParams
from vllm.outputs import RequestOutput
from vllm.v1.engine.llm_engine import LLMEngine

from stepcoder_dist.errors import EngineLost, RunError, StepcoderError

Result = TypeVar("Result")


def _at_once() -> bool:
    return True


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, eq=False)
class _Command:
    run: Callable[[], None]
    fail: Callable[[Exception], None]
    when: Callable[[], bool]
    """Says, on the thread and after every step and command, whether a command may run now."""


@dataclass(frozen=True, slots=True, eq=False)
class _Decoding:
    """One request inside the engine."""

    finish: Callable[[RequestOutput, float], None]
    fail: Callable[[Exception], None]
    since: float


class EngineThread:
    """Runs `make_engine` and then the engine's steps, both on one thread of its own.

    OpenMP keeps a thread pool for each calling thread: an engine made on one thread and stepped
    on another would compute with another number of threads. The constructor blocks until the
    engine is made and raises `RunError` when it cannot be.
    """

    def __init__(
        self,
        name: str,
        make_engine: Callable[[], LLMEngine],
        *,
        after_change: Callable[[], None] = _nothing,
        may_step: Callable[[], bool] = _at_once,
    ) -> None:
        """`after_change` is called on the thread after each step and after `cancel`.

        `may_step` says, on the thread, whether the engine may decode what it holds now.
        """
        self._name = name
        self._after_change = after_change
        self._may_step = may_step
        self._inbox: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()
        self._waiting: list[_Command] = []
        self._decoding: dict[str, _Decoding] = {}
        self._ids = itertools.count()
        self._lost: EngineLost | None = None
        self._closed = False
        self.busy_s = 0.0
        """Seconds spent in the engine's steps."""
        started: Future[LLMEngine] = Future()
        self._thread = threading.Thread(
            target=self._drive, args=(make_engine, started), name=f"{name}-engine", daemon=True
        )
        self._thread.start()
        self._engine = started.result()

    @property
    def decoding(self) -> int:
        """Requests inside the engine."""
        return len(self._decoding)

    # ---- on any thread ----

    def post(
        self,
        run: Callable[[], None],
        fail: Callable[[Exception], None],
        *,
        when: Callable[[], bool] = _at_once,
    ) -> None:
        """Obey `run` when `when` allows it. `fail` gets the error when the engine is lost."""
        self._inbox.put(_Command(run, fail, when))
        if self._closed:
            self._fail_inbox()

    def call(
        self, function: Callable[[], Result], *, when: Callable[[], bool] = _at_once
    ) -> Future[Result]:
        """Like `post`, with the function's result or exception as a future."""
        answer: Future[Result] = Future()

        def run() -> None:
            try:
                answer.set_result(function())
            except Exception as error:  # noqa: BLE001 (the caller's to handle, not the thread's)
                answer.set_exception(error)

        self.post(run, answer.set_exception, when=when)
        return answer

    def close(self) -> None:
        """Stop the thread and release the engine. Blocks until both are done."""
        self._inbox.put(None)
        self._thread.join()

    # ---- inside a command ----

    def add(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        *,
        finish: Callable[[RequestOutput, float], None],
        fail: Callable[[Exception], None],
        cache_salt: str | None = None,
    ) -> str:
        """Put one request into the engine; `finish` gets its final output and its seconds."""
        prompt: dict[str, Any] = {"prompt_token_ids": list(prompt_ids)}
        if cache_salt is not None:
            prompt["cache_salt"] = cache_salt
        request_id = str(next(self._ids))
        self._engine.add_request(request_id, prompt, params)
        self._decoding[request_id] = _Decoding(finish, fail, time.monotonic())
        return request_id

    def cancel(self, request_ids: Iterable[str]) -> None:
        """Take requests out of the engine; those that have finished are passed over."""
        mine = [i for i in request_ids if self._decoding.pop(i, None) is not None]
        self._engine.abort_request(mine)
        self._after_change()

    def fail_decoding(self, error: Exception) -> None:
        """Take every request out of the engine; its caller gets the error. The engine is well."""
        fails = [request.fail for request in self._decoding.values()]
        self.cancel(list(self._decoding))
        for fail in fails:
            fail(error)

    # ---- the thread itself ----

    def _drive(self, make_engine: Callable[[], LLMEngine], started: Future[LLMEngine]) -> None:
        try:
            engine = make_engine()
        except StepcoderError as error:
            started.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 (vLLM raises what it likes; the caller must know)
            started.set_exception(RunError(f"{self._name}: vLLM did not start: {error!r}"))
            return
        started.set_result(engine)
        while self._obey():
            try:
                self._step(engine)
            except Exception as error:  # noqa: BLE001 (a broken engine must fail its callers)
                self._lose(f"vLLM's engine broke: {error!r}")
        self._lose("the sampler was closed")
        self._closed = True
        self._fail_inbox()
        engine.engine_core.shutdown()

    def _obey(self) -> bool:
        """Run what may run; return True when there is something to decode, False to close."""
        while True:
            self._run_ready()
            try:
                command = self._inbox.get(block=not (self._decoding and self._may_step()))
            except queue.Empty:
                return True
            if command is None:
                return False
            if self._lost is None:
                self._waiting.append(command)
            else:
                command.fail(self._lost)

    def _run_ready(self) -> None:
        """Run waiting commands in their order until none of them may run."""
        while (ready := next((c for c in self._waiting if c.when()), None)) is not None:
            self._waiting.remove(ready)
            try:
                ready.run()
            except Exception as error:  # noqa: BLE001 (the engine refused: its callers must know)
                ready.fail(error)
                self._lose(f"vLLM refused a command: {error!r}")

    def _step(self, engine: LLMEngine) -> None:
        before = time.monotonic()
        outputs = engine.step()
        now = time.monotonic()
        self.busy_s += now - before
        for output in outputs:
            request = self._decoding.pop(output.request_id, None)
            if request is None:
                continue
            try:
                request.finish(output, now - request.since)
            except Exception as error:  # (its caller must hear of it)
                request.fail(error)
                raise
        self._after_change()

    def _fail_inbox(self) -> None:
        """Answer what came too late for a closed engine: nobody reads the inbox any more."""
        while True:
            try:
                command = self._inbox.get_nowait()
            except queue.Empty:
                return
            if command is not None and self._lost is not None:
                command.fail(self._lost)

    def _lose(self, why: str) -> None:
        """Fail everything that waits; from here on every command is answered with the error."""
        self._lost = EngineLost(f"{self._name}: {why}")
        fails = [request.fail for request in self._decoding.values()]
        fails += [command.fail for command in self._waiting]
        self._decoding.clear()
        self._waiting.clear()
        for fail in fails:
            fail(self._lost)
