"""The driver's handle on the learner: implements `ports.Learner` over all ranks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayError

from learner.mismatch_alarm import MismatchAlarm
from learner.push.arrival import ArrivalCheck
from learner.push.delivery import Deliveries
from learner.rank_group import RankGroup
from learner.saving import saving_round
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import LearnerError, RunError, WeightPushError, last_line
from stepcoder_dist.host.answering import drop
from stepcoder_dist.ports import LastWords, Placement, anywhere, unheard
from stepcoder_dist.records import (
    Int32Array,
    StepReport,
    TakenUpdate,
    Trajectory,
    WeightSnapshot,
    WeightVersion,
)

if TYPE_CHECKING:
    from learner.worker import LearnerWorker

PROBE_TOKENS = 24
SETTLE_S = 10.0
"""How long a run may take to end by the error of a call of its own, when a rank is dead."""
PUSH_GRACE_S = 30.0
"""How much longer than its deadline a push may take to report its own failure."""


def _worker() -> type[LearnerWorker]:
    """Return the class of a rank, in its own process: it needs torch and DeepSpeed."""
    from learner.worker import LearnerWorker

    return LearnerWorker


class LearnerGroup:
    """Policy, critic and reference on `learner.ranks` ranks. `start` first, `close` at the end.

    Calls to the ranks take turns, whoever makes them: a deadline starts when its call's turn has
    come. A delivery needs no turn, for its snapshot has the weights and what to compare them with.
    """

    def __init__(
        self,
        config: RunConfig,
        checkpoint: str,
        probe_token_ids: Sequence[int] = (),
        *,
        placement: Placement = anywhere,
        last_words: LastWords = unheard,
    ) -> None:
        """`checkpoint`: the Hugging Face folder of version 0 and of the reference.

        `probe_token_ids`: at least 2 ids whose log-probs are compared after each push. Text that
        the model knows (a prompt with its reference) has the smallest rounding differences in
        bfloat16; without it, ids are drawn from the vocabulary.
        """
        self._config = config
        self._ranks = RankGroup(
            _worker, config, checkpoint, placement=placement, last_words=last_words
        )
        self._arrival = ArrivalCheck(config, np.asarray(probe_token_ids, dtype=np.int32))
        self._deliveries = Deliveries()
        self._turn = asyncio.Lock()
        self._alarm = MismatchAlarm(config.learner.mismatch_alarm)

    async def start(self) -> None:
        """Start the ranks and load the networks."""
        await self._ranks.start()
        if len(self._arrival.token_ids) == 0:
            vocabulary = await self._ranks.call_one(0, "vocabulary")
            generator = np.random.default_rng(self._config.seed)
            drawn = generator.integers(0, vocabulary, PROBE_TOKENS).astype(np.int32)
            self._arrival = ArrivalCheck(self._config, drawn)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """End the block when a rank dies or hangs, also while nothing is asked of it.

        A run can wait for rollouts that wait for weights of a rank that is dead. Raises the
        `LearnerError` of the rank, but for a block that has ended within `SETTLE_S` by itself: the
        call that the rank has broken may be the block's own, and say more.
        """
        try:
            async with asyncio.timeout(None) as limit:
                watching = asyncio.create_task(self._watch(limit))
                yield
        except TimeoutError:
            if limit.expired():
                await watching  # raises what it has seen
            raise
        finally:
            drop(watching)

    async def _watch(self, limit: asyncio.Timeout) -> None:
        try:
            await self._ranks.watch()
        except LearnerError:
            limit.reschedule(asyncio.get_running_loop().time() + SETTLE_S)
            raise

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        """Run one PPO step on the entire batch.

        Raises `LearnerError`, and `RunError` where the object store has no room for the batch.
        """
        async with self._turn:
            try:
                sent = ray.put(list(batch))
            except RayError as error:
                raise RunError(
                    "the batch of a learner step did not fit Ray's object store "
                    f"({last_line(error)}); `ray memory` shows what fills it: make room, then "
                    "`stepcoder train --resume` continues at the newest checkpoint"
                ) from error
            report: StepReport = (await self._ranks.call("step", sent))[0]
        self._alarm.hear(report)
        return report

    @property
    def can_snapshot(self) -> bool:
        """Whether `snapshot` and `deliver` work: through the object store, on GPUs of its own."""
        return self._config.weights.transport == "object_store" and not self._config.colocate

    async def snapshot(self) -> WeightSnapshot:
        """Copy the weights of the last step into the object store. Raises `LearnerError`.

        Raises `WeightPushError` when the object store is full, or it takes too long.
        """
        async with self._turn:
            return await self._snapshot(self._config.weights.deadline_s)

    async def _snapshot(self, deadline_s: float) -> WeightSnapshot:
        answers = await self._in_time(
            "snapshot", deadline_s, "a snapshot of the weights", self._arrival.token_ids
        )
        snapshot: WeightSnapshot = answers[0]
        return snapshot

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        """Bring every target that lives to the snapshot, each for itself, and compare a probe.

        Needs no turn: the learner may step meanwhile. Two deliveries to one target take turns.
        Raises `WeightPushError` for a target that did not get all of it, `ArrivalError` for one
        that did and does not answer as the learner does, `LearnerError` where a rank is dead: the
        snapshot went with it.
        """
        try:
            await self._deliveries.deliver(snapshot, targets, self._arrival, deadline_s)
        except WeightPushError:
            await self._ranks.check()
            raise

    def hear_of_updates(self, hear: Callable[[TakenUpdate, WeightVersion], None]) -> None:
        """Have `hear` called when an actor has taken a version through the object store."""
        self._deliveries.hear = hear

    async def publish(self, targets: Sequence[Any], *, deadline_s: float) -> WeightVersion:
        """Push to every target that lives, then compare a probe.

        Raises `WeightPushError` for a push that did not reach every target, `ArrivalError` for a
        target that took it and does not answer as the learner does, `LearnerError`.
        """
        if self.can_snapshot:
            async with self._turn:
                snapshot = await self._snapshot(deadline_s)
            await self.deliver(snapshot, targets, deadline_s=deadline_s)
            return snapshot.version
        async with self._turn:  # until the end: on a shared GPU the engine has the memory now
            if self._config.weights.transport == "object_store":
                snapshot = await self._snapshot(deadline_s)
                await self.deliver(snapshot, targets, deadline_s=deadline_s)
                return snapshot.version
            return await self._push(targets, deadline_s)

    async def _push(self, targets: Sequence[Any], deadline_s: float) -> WeightVersion:
        """Have the ranks themselves send their weights to the targets."""
        # asked before the push: on a shared GPU it wakes the engine, which takes the memory
        own = await self._own_logprobs(self._arrival.token_ids)
        what = f"the push to {', '.join(map(repr, targets))}"
        answers = await self._in_time("push", deadline_s, what, list(targets), deadline_s)
        version: WeightVersion = answers[0]
        await asyncio.gather(
            *(self._arrival.of(target, version, own, deadline_s) for target in targets)
        )
        return version

    async def _in_time(
        self, method: str, deadline_s: float, what: str, *arguments: Any
    ) -> list[Any]:
        """Call every rank; a call that does not end leaves the ranks stuck in it."""
        try:
            async with asyncio.timeout(deadline_s + PUSH_GRACE_S):
                return await self._ranks.call(method, *arguments)
        except TimeoutError:
            self._ranks.break_off(f"{what} did not end")
            raise WeightPushError(
                f"{what} did not end within {deadline_s:.0f} s "
                "(weights.deadline_s); resume from the last checkpoint"
            ) from None

    async def probe_logprobs(self, token_ids: Sequence[int]) -> tuple[float, ...]:
        """Return log-probs at temperature 1 of tokens 1…n−1 under the learner's weights."""
        async with self._turn:
            return tuple(await self._own_logprobs(np.asarray(token_ids, dtype=np.int32)))

    async def _own_logprobs(self, token_ids: Int32Array) -> Sequence[float]:
        logprobs: Sequence[float] = (await self._ranks.call("probe_logprobs", token_ids))[0]
        return logprobs

    async def begin_save(self, folder: str) -> Coroutine[Any, Any, None]:
        """Take a checkpoint; await what is returned to have it written. Raises `LearnerError`.

        It appears complete or not at all.
        """
        async with self._turn:
            copied = self._config.train.checkpoint_in_background
            return await saving_round.take(self._ranks, folder, copied=copied)

    async def save(self, folder: str) -> None:
        """Take a checkpoint and wait until it is written. Raises `LearnerError`."""
        await (await self.begin_save(folder))

    async def load(self, folder: str) -> WeightVersion:
        """Load a checkpoint. Raises `UserError` for a damaged or foreign one, changing nothing."""
        async with self._turn:
            await self._ranks.call_one(0, "verify", folder)
            version: WeightVersion = (await self._ranks.call("load", folder))[0]
        return version

    async def save_hf(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder. Raises `LearnerError`."""
        async with self._turn:
            await self._ranks.call("save_hf", folder)

    async def close(self) -> None:
        """End every rank."""
        await self._ranks.close()
