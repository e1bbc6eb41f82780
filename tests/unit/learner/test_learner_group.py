"""Whose turn it is, and what the driver makes of a probe: the group over ranks in this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import ObjectStoreFullError

pytest.importorskip("ray")

from ray.exceptions import OutOfMemoryError

from learner import learner_group, rank_group
from learner.learner_group import LearnerGroup
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ArrivalError, LearnerError, RunError, WeightPushError
from stepcoder_dist.records import StepReport, TakenUpdate, WeightProbe, WeightSnapshot

DEADLINE_S = 0.05


class SerialRank:
    """A rank as Ray runs it: one call after the other, in the order in which they came."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.version = 0
        self.step_may_end = asyncio.Event()
        self.snapshot_may_end = asyncio.Event()
        self.snapshot_may_end.set()
        self._one = asyncio.Lock()

    @property
    def call(self) -> SerialRank:
        """The remote method `LearnerRank.call`."""
        return self

    def options(self, **_: Any) -> SerialRank:
        return self

    @property
    def answer(self) -> Pulse:
        """The remote method `LearnerRank.answer`."""
        return Pulse()

    def remote(self, method: str, *_arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._answer(method))

    async def _answer(self, method: str) -> Any:
        async with self._one:
            answer = await getattr(self, f"_{method}")()
            self.done.append(method)
            return answer

    async def _step(self) -> StepReport:
        await self.step_may_end.wait()
        self.version += 1
        return StepReport(version=self.version, skipped=False, metrics={})

    async def _snapshot(self) -> WeightSnapshot:
        await self.snapshot_may_end.wait()
        logprobs = (-1.0 - self.version, -2.0)
        return WeightSnapshot(version=self.version, buckets=("all",), probe_logprobs=logprobs)

    async def _push(self) -> int:
        return self.version

    async def _probe_logprobs(self) -> list[float]:
        return [-1.0 - self.version, -2.0]

    async def _verify(self) -> None:
        pass

    async def _load(self) -> None:
        await asyncio.Event().wait()

    async def _take_checkpoint(self) -> None:
        pass

    async def _write_checkpoint(self) -> dict[str, list[int]]:
        return {}

    async def _finish_checkpoint(self) -> None:
        pass


class Pulse:
    """What a rank that lives answers at once, whatever it computes."""

    def options(self, **_: Any) -> Pulse:
        return self

    async def remote(self) -> None:
        pass


class Method:
    """A remote method of an actor in this process."""

    def __init__(self, function: Callable[..., Awaitable[Any]]) -> None:
        self._function = function

    def remote(self, *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._function(*arguments))


class Target:
    """A rollout actor that takes any weights and answers the probe with these log-probs."""

    def __init__(self, *logprobs: float) -> None:
        self._logprobs = logprobs
        self.calls: list[str] = []
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.may_load = asyncio.Event()
        self.may_load.set()

    def __getattr__(self, name: str) -> Method:
        async def call(*_arguments: Any) -> WeightProbe | TakenUpdate | None:
            self.calls.append(name)
            self.reached[name].set()
            if name == "load_bucket":
                await self.may_load.wait()
            if name == "probe":
                return WeightProbe(version=0, logprobs=self._logprobs)
            if name == "finish_update":
                return TakenUpdate(actor="rollout-0", paused_s=0.5)
            return None

        return Method(call)


UPDATE = ["start_update", "load_bucket", "finish_update", "probe"]


def group_over(
    rank: SerialRank,
    dtype: str = "float32",
    *,
    transport: str = "object_store",
    step_timeout_s: float = 60,
) -> LearnerGroup:
    gpus = {"resources": {"num_gpus": 1.0 if transport == "nccl" else 0.0}}
    config = RunConfig.model_validate(
        {
            "name": "group",
            "model": {"path": "none", "dtype": dtype},
            "weights": {"transport": transport},
            "learner": gpus | {"step_timeout_s": step_timeout_s},
            "actors": gpus,
            "problems": {"train": "none", "heldout": "none"},
        }
    )
    group = LearnerGroup(config, "none", [1, 2, 3])
    group._ranks._actors = [rank]
    return group


def run(scenario: Callable[[SerialRank], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await scenario(SerialRank())

    asyncio.run(whole())


def test_a_pushs_deadline_starts_after_the_step_that_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner_group, "PUSH_GRACE_S", 0.0)

    async def scenario(rank: SerialRank) -> None:
        group = group_over(rank)
        step = asyncio.ensure_future(group.step([]))
        await asyncio.sleep(0)
        refresh = asyncio.ensure_future(group.publish([], deadline_s=DEADLINE_S))
        ended, _ = await asyncio.wait([refresh], timeout=4 * DEADLINE_S)
        assert not ended  # far over its deadline, and it waits for its turn
        rank.step_may_end.set()
        assert await refresh == 1
        assert (await step).version == 1
        await group.save("folder")
        assert rank.done[:2] == ["step", "snapshot"]
        assert rank.done[2:] == ["take_checkpoint", "write_checkpoint", "finish_checkpoint"]

    monkeypatch.setattr(learner_group.ray, "put", lambda batch: batch)
    run(scenario)


def test_a_snapshot_that_does_not_end_breaks_the_group_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_group, "PUSH_GRACE_S", 0.0)

    async def scenario(rank: SerialRank) -> None:
        rank.snapshot_may_end.clear()
        group = group_over(rank)
        with pytest.raises(WeightPushError, match="did not end within"):
            await group.publish([], deadline_s=DEADLINE_S)
        with pytest.raises(LearnerError, match="a snapshot of the weights did not end"):
            await group.save("folder")

    run(scenario)


def test_a_call_that_the_ranks_do_not_end_is_named_although_they_answer() -> None:
    async def scenario(rank: SerialRank) -> None:
        group = group_over(rank, step_timeout_s=DEADLINE_S)
        with pytest.raises(LearnerError, match=r"the learner did not end load within 0\.05 s"):
            await group.load("folder")
        with pytest.raises(LearnerError, match="cannot save_hf: load did not end"):
            await group.save_hf("folder")

    run(scenario)


def test_a_rank_that_ray_kills_for_memory_has_ended_like_any_other() -> None:
    class Killed(SerialRank):
        @property
        def __ray_ready__(self) -> Method:
            async def call() -> None:
                raise OutOfMemoryError("1 worker was killed: the node is low on memory")

            return Method(call)

    run(lambda _: rank_group._ended(Killed()))


def test_the_learner_steps_while_a_target_still_loads_and_the_others_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner_group.ray, "put", lambda batch: batch)

    async def scenario(rank: SerialRank) -> None:
        rank.step_may_end.set()
        group = group_over(rank)
        slow, fast = Target(-1.0, -2.0), Target(-1.0, -2.0)
        slow.may_load.clear()
        snapshot = await group.snapshot()
        delivery = asyncio.ensure_future(group.deliver(snapshot, [slow, fast], deadline_s=10))
        await group.step([])
        await fast.reached["probe"].wait()
        assert slow.calls == UPDATE[:2]
        assert not delivery.done()
        slow.may_load.set()
        await delivery  # compared with version 0, though the learner has stepped
        assert slow.calls == UPDATE
        assert rank.version == 1

    run(scenario)


def test_two_deliveries_to_one_target_take_turns_and_each_has_its_own_deadline() -> None:
    async def scenario(rank: SerialRank) -> None:
        group, target = group_over(rank), Target(-1.0, -2.0)
        target.may_load.clear()
        first = asyncio.ensure_future(group.publish([target], deadline_s=10))
        await target.reached["load_bucket"].wait()
        second = asyncio.ensure_future(group.publish([target], deadline_s=DEADLINE_S))
        ended, _ = await asyncio.wait([second], timeout=4 * DEADLINE_S)
        assert not ended
        target.may_load.set()
        assert [await first, await second] == [0, 0]
        assert target.calls == UPDATE * 2

    run(scenario)


def test_what_a_target_measured_of_its_update_is_heard_when_it_has_committed() -> None:
    async def scenario(rank: SerialRank) -> None:
        group, target, heard = group_over(rank), Target(-1.0, -2.0), []
        group.hear_of_updates(lambda taken, version: heard.append((taken, version)))
        await group.publish([target], deadline_s=10)
        assert heard == [(TakenUpdate(actor="rollout-0", paused_s=0.5), 0)]

    run(scenario)


def test_a_target_that_is_late_is_named_with_what_it_was_asked_and_is_to_abort() -> None:
    async def scenario(rank: SerialRank) -> None:
        late, other = Target(-1.0, -2.0), Target(-1.0, -2.0)
        late.may_load.clear()
        with pytest.raises(
            WeightPushError, match=r"1 of 2 .*target 0 .*no answer to load_bucket within .*= 0.05"
        ):
            await group_over(rank).publish([late, other], deadline_s=DEADLINE_S)
        assert late.calls == [*UPDATE[:2], "abort_update"]
        assert other.calls == UPDATE

    run(scenario)


def test_no_step_comes_into_a_push_that_the_ranks_send_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learner_group.ray, "put", lambda batch: batch)

    async def scenario(rank: SerialRank) -> None:
        rank.step_may_end.set()
        group = group_over(rank, transport="nccl")
        publish = asyncio.ensure_future(group.publish([Target(-1.0, -2.0)], deadline_s=10))
        await asyncio.sleep(0)
        await group.step([])
        assert await publish == 0
        assert rank.done == ["probe_logprobs", "push", "step"]
        assert not group.can_snapshot

    run(scenario)


@pytest.mark.parametrize(
    ("dtype", "logprobs", "words"),
    [
        ("float32", (-1.0, -2.15), "up to 0.15"),
        ("bfloat16", (-1.15, -2.15), "in the mean 0.15"),
        ("bfloat16", (float("nan"), -2.0), "in the mean nan"),
    ],
)
def test_an_actor_that_is_too_far_from_the_learner_is_refused(
    dtype: str, logprobs: tuple[float, ...], words: str
) -> None:
    async def scenario(rank: SerialRank) -> None:
        with pytest.raises(ArrivalError, match=words):
            await group_over(rank, dtype).publish([Target(*logprobs)], deadline_s=10)

    run(scenario)


def test_one_rounded_token_is_no_difference_in_bfloat16() -> None:
    async def scenario(rank: SerialRank) -> None:
        await group_over(rank, "bfloat16").publish([Target(-1.0, -2.15)], deadline_s=10)

    run(scenario)


def test_a_batch_that_the_object_store_cannot_take_ends_the_run_and_says_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_batch: object) -> None:
        raise ObjectStoreFullError("no space")

    monkeypatch.setattr(learner_group.ray, "put", full)

    async def scenario(rank: SerialRank) -> None:
        with pytest.raises(RunError, match=r"batch of a learner step did not fit .*`ray memory`"):
            await group_over(rank).step([])
        assert rank.done == []

    run(scenario)
