"""Samples shares of requests with vLLM and takes weight updates between them.

A share is one command to the engine's thread: all its requests are in the engine before the next
step, which makes a batch, and so its logits, repeatable. One request a sample, final output only:
a completion is delivered when it ends, with those of its share that end in the same step.

A weight update waits for what is decoding to end, and shares that come meanwhile are held until it
is over. With `weights.on_update = "continue"` nothing waits: the weights change between two steps.

Where rollouts run ahead without being repeatable, the engine gets only as many requests as it
decodes at once, and the rest is held here: an update does not wait for it, and it is sampled by the
new weights.
"""
# One file, though long: sampling and updates hold each other up, by the same few attributes.

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from vllm.outputs import RequestOutput
from vllm.v1.engine.llm_engine import LLMEngine

from actors.checkpoint_folder import CheckpointFolder
from actors.engine import make_engine
from actors.engine_load import EngineLoad, LoadReader
from actors.engine_thread import EngineThread
from actors.shares import HeldRequests, Outbox, PauseClock, Share
from actors.translation import completion_of, probe_of, probe_params, sampling_params
from actors.weight_receiver import State, WeightReceiver
from actors.weight_transfer import check_vllm
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import AwaitsWeights, RunError, WeightPushError
from stepcoder_dist.host import model_source
from stepcoder_dist.records import (
    Completion,
    RolloutRequest,
    WeightBucket,
    WeightProbe,
    WeightVersion,
)
from stepcoder_dist.text.tokenization import load_tokenizer

Result = TypeVar("Result")

_LM_HEAD = frozenset({"lm_head.weight"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerStats:
    """Counts since the process began, and what is in the engine now."""

    version: WeightVersion
    state: State
    decoding: int
    """Samples inside the engine."""
    finished_samples: int
    sampled_tokens: int
    busy_s: float
    """Seconds spent in the engine's steps."""
    load: EngineLoad
    paused_s: float
    """Seconds in which weight updates kept the engine from taking requests."""


@dataclass(slots=True, eq=False)
class _Drain:
    """A weight update that waits for what is decoding."""

    abandoned: bool = False


class VllmSampler:
    """Block until the engine is up. Raises `RunError` or `ConfigError`."""

    def __init__(
        self,
        checkpoint: str,
        config: RunConfig,
        *,
        name: str,
        awaits_weights: bool = False,
        on_load: Callable[[EngineLoad], None] = lambda _: None,
    ) -> None:
        """`on_load` is called from time to time while the engine works, on its thread."""
        check_vllm()
        self._name = name
        self._max_tokens = config.model.max_tokens
        folder = CheckpointFolder(model_source.find(checkpoint))
        tokenizer = load_tokenizer(folder.path)
        self._tokenizer, self._eos_ids = tokenizer.backend, sorted(tokenizer.eos_ids)
        shapes = folder.parameter_shapes()
        self._drains: dict[WeightVersion, _Drain] = {}
        ahead = not config.samples_repeatably
        self._continues = ahead and config.weights.on_update == "continue"
        self._room = config.actors.max_batch if ahead else None
        """Requests that the engine gets at once; None: a share goes in undivided."""
        self._held = HeldRequests()
        self._full: set[Outbox] = set()
        self._pause = PauseClock()
        self._paused_before_s = 0.0
        """By updates that are over."""
        self._finished_samples = 0
        self._sampled_tokens = 0

        def make() -> LLMEngine:
            engine = make_engine(folder.path, config)
            self._receiver = WeightReceiver(
                engine,
                shapes,
                optional=_LM_HEAD if folder.ties_embeddings else frozenset(),
                awaits_weights=awaits_weights,
                continues=self._continues,
                on_broken=self._fail_decoding,
            )
            self._load = LoadReader(engine, on_load, lambda: self._thread.busy_s)
            return engine

        def after_change() -> None:
            for outbox in tuple(self._full):
                outbox.empty()
            self._load.read()

        def may_step() -> bool:
            return self._receiver.holds_one_version or not self._continues

        self._thread = EngineThread(name, make, after_change=after_change, may_step=may_step)

    def close(self) -> None:
        """Stop decoding and release the engine. Blocks until done."""
        self._thread.close()

    # ---- sampling ----

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[list[Completion]]:
        """Yield completions as they finish, together what is there; closing frees the engine.

        Raises `AwaitsWeights` when the actor holds no complete weight version, `EngineLost` when
        the engine broke, `RunError` for a request that does not fit the context.
        """
        self._check_lengths(share)
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[list[Completion] | Exception] = asyncio.Queue()

        def send(item: list[Completion] | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrived.put_nowait, item)

        task = Share(tuple(share), Outbox(len(share), send, self._full).put)
        self._thread.post(lambda: self._admit(task), task.deliver, when=self._is_open)
        left = len(share)
        try:
            while left:
                there: list[Completion] = []
                item = await arrived.get()
                while not isinstance(item, Exception):
                    there += item
                    if arrived.empty():
                        break
                    item = arrived.get_nowait()
                left -= len(there)
                if there:
                    yield there
                if isinstance(item, Exception):
                    raise item
        finally:
            if left:
                self._thread.post(lambda: self._cancel(task), lambda _: None)

    def _check_lengths(self, share: Sequence[RolloutRequest]) -> None:
        for request in share:
            asked = len(request.prompt_ids) + request.max_new_tokens
            if (
                not len(request.prompt_ids)
                or request.max_new_tokens < 1
                or asked > self._max_tokens
            ):
                raise RunError(
                    f"sample {request.ticket.sample_id}: {len(request.prompt_ids)} prompt tokens "
                    f"and {request.max_new_tokens} new ones; both have to be at least 1 and "
                    f"together at most model.max_tokens = {self._max_tokens}"
                )

    def _is_open(self) -> bool:
        """Return whether shares are looked at: not held until an update is over."""
        if self._continues and self._receiver.holds_one_version:
            return True
        return not self._drains and self._receiver.state is not State.UPDATING

    def _admit(self, share: Share) -> None:
        self._held.add(share)
        self._fill()

    def _fill(self) -> None:
        """Put held requests into the engine as far as it has room; on its thread."""
        if not self._is_open():
            return
        if not self._receiver.holds_one_version:
            for share in self._held.give_up():
                self._cancel(share)
                share.deliver(self._awaits_weights())
            return
        while self._room is None or self._thread.decoding < self._room:
            if (held := self._held.next()) is None:
                return
            share, request = held
            try:
                share.engine_ids.append(self._add(request, share.deliver))
            except ValueError as error:
                # vLLM's word for a request that it cannot serve; the engine itself is well.
                self._cancel(share)
                share.deliver(RunError(f"{self._name}: vLLM refused a request: {error}"))

    def _fail_decoding(self) -> None:
        """Give up what is decoding: an update has broken off between two of its tensors."""
        self._thread.fail_decoding(self._awaits_weights())

    def _awaits_weights(self) -> AwaitsWeights:
        return AwaitsWeights(
            f"{self._name} holds no complete weight version; push one to it or restart it"
        )

    def _cancel(self, share: Share) -> None:
        share.cancelled = True
        self._thread.cancel(share.engine_ids)

    def _add(
        self, request: RolloutRequest, deliver: Callable[[Completion | Exception], None]
    ) -> str:
        def finish(output: RequestOutput, seconds: float) -> None:
            completion = completion_of(
                request,
                output,
                tokenizer=self._tokenizer,
                actor=self._name,
                seconds=seconds,
                added_under=version,
            )
            self._finished_samples += 1
            self._sampled_tokens += len(completion.token_ids)
            deliver(completion)
            self._fill()

        version = self._receiver.version
        return self._thread.add(
            request.prompt_ids.tolist(),
            sampling_params(request, self._eos_ids),
            finish=finish,
            fail=deliver,
            # The cache cannot be reset while samples use it, and keeps prefixes of older weights.
            cache_salt=f"weights {self._receiver.commits}" if self._continues else None,
        )

    # ---- weight updates ----

    async def rest(self) -> None:
        """Release weights and cache until the next push, once what is decoding has ended."""
        await _reply(self._thread.call(self._receiver.rest, when=lambda: not self._thread.decoding))

    async def start_update(self, version: WeightVersion) -> None:
        """Open a push when what is decoding has ended; hold new shares until it is over.

        Where samples continue, it is open at once and nothing is held.
        """
        if self._continues:
            await self._on_thread(lambda: self._receiver.start(version))
            return
        drain = _Drain()

        def announce() -> Future[None]:
            self._drains[version] = drain
            self._pause.start()
            return self._thread.call(begin, when=may_begin)

        def may_begin() -> bool:
            return drain.abandoned or self._thread.decoding == 0

        def begin() -> None:
            if drain.abandoned:
                raise WeightPushError(f"{self._name}: given up before decoding had ended")
            self._drains.pop(version, None)
            self._receiver.start(version)

        # Two commands: from the first on shares are held, the second waits for the engine.
        begun = await _reply(self._thread.call(announce))
        await _reply(begun)

    async def load_bucket(self, bucket: WeightBucket) -> None:
        await self._on_thread(lambda: self._receiver.load(bucket))

    async def receive_update(self, update_info: dict[str, Any]) -> None:
        def receive() -> None:
            self._pause.start()
            self._receiver.receive(update_info)

        await self._on_thread(receive)

    async def join_transfer(self, init_info: dict[str, Any]) -> None:
        await self._on_thread(lambda: self._receiver.join_transfer(init_info))

    async def finish_update(self, version: WeightVersion, buckets: int) -> float:
        """Commit; return the seconds in which the update kept the engine from decoding."""

        def finish() -> None:
            self._pause.start()
            try:
                self._receiver.finish(version, buckets)
            finally:
                self._resume()

        await self._on_thread(finish)
        before, self._paused_before_s = self._paused_before_s, self._pause.total_s
        return self._paused_before_s - before

    async def abort_update(self, version: WeightVersion) -> None:
        def abort() -> None:
            drain = self._drains.pop(version, None)
            if drain is not None:
                drain.abandoned = True
            self._receiver.abort(version)
            self._resume()

        await self._on_thread(abort)

    def _resume(self) -> None:
        """Take requests again, where no update is left that holds them up; on the thread."""
        if self._is_open():
            self._pause.end()
            self._fill()

    async def _on_thread(self, function: Callable[[], None]) -> None:
        await _reply(self._thread.call(function))

    # ---- looking inside ----

    async def probe(self, token_ids: Sequence[int]) -> WeightProbe:
        """Return log-probs at temperature 1 of tokens 1…n−1 (n ≥ 2), by the engine's own prefill.

        Raises `AwaitsWeights` when the actor holds no complete weight version.
        """
        if not 2 <= len(token_ids) < self._max_tokens:  # noqa: PLR2004
            raise RunError(f"a probe of {len(token_ids)} tokens; give 2 to {self._max_tokens - 1}")
        ids = [int(token) for token in token_ids]
        answer: Future[WeightProbe] = Future()

        def finish(output: RequestOutput, _: float) -> None:
            answer.set_result(probe_of(ids, output, self._receiver.version))

        def add() -> None:
            if not (self._is_open() and self._receiver.holds_one_version):
                answer.set_exception(self._awaits_weights())
                return
            # Its own salt: a probe must not change which prefixes later samples find cached.
            salt = f"probe {self._receiver.commits}"
            self._thread.add(
                ids, probe_params(), finish=finish, fail=answer.set_exception, cache_salt=salt
            )

        self._thread.post(add, answer.set_exception)
        return await _reply(answer)

    async def stats(self) -> SamplerStats:
        def read() -> SamplerStats:
            return SamplerStats(
                version=self._receiver.version,
                state=self._receiver.state,
                decoding=self._thread.decoding,
                finished_samples=self._finished_samples,
                sampled_tokens=self._sampled_tokens,
                busy_s=self._thread.busy_s,
                load=self._load.now(),
                paused_s=self._pause.total_s,
            )

        return await _reply(self._thread.call(read))


async def _reply(future: Future[Result]) -> Result:
    """Wait for the engine's thread. A caller that goes away must not cancel what it answers."""
    return await asyncio.shield(asyncio.wrap_future(future))
