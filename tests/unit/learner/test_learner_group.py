"""Whose turn it is, and what the driver makes of a probe: the group over ranks in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("ray")

from learner import learner_group
from learner.learner_group import LearnerGroup
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ArrivalError, LearnerError, WeightPushError
from stepcoder_dist.records import WeightProbe

DEADLINE_S = 0.05


class SerialRank:
    """A rank as Ray runs it: one call after the other, in the order in which they came."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.version = 0
        self.step_may_end = asyncio.Event()
        self.push_may_end = asyncio.Event()
        self.push_may_end.set()
        self._one = asyncio.Lock()

    @property
    def call(self) -> SerialRank:
        """The remote method `LearnerRank.call`."""
        return self

    def options(self, **_: Any) -> SerialRank:
        return self

    def remote(self, method: str, *_arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self._answer(method))

    async def _answer(self, method: str) -> Any:
        async with self._one:
            answer = await getattr(self, f"_{method}")()
            self.done.append(method)
            return answer

    async def _step(self) -> str:
        await self.step_may_end.wait()
        self.version += 1
        return f"report of {self.version}"

    async def _push(self) -> int:
        await self.push_may_end.wait()
        return self.version

    async def _probe_logprobs(self) -> list[float]:
        return [-1.0 - self.version, -2.0]

    async def _save(self) -> None:
        pass


class Target:
    """A rollout actor that answers the probe with these log-probs."""

    def __init__(self, *logprobs: float) -> None:
        self.probe = self
        self._logprobs = logprobs

    async def remote(self, _token_ids: list[int]) -> WeightProbe:
        return WeightProbe(version=0, logprobs=self._logprobs)


def group_over(rank: SerialRank, dtype: str = "float32") -> LearnerGroup:
    config = RunConfig.model_validate(
        {
            "name": "group",
            "model": {"path": "none", "dtype": dtype},
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
        assert str(await step) == "report of 1"
        await group.save("folder")
        assert rank.done == ["step", "probe_logprobs", "push", "save"]

    monkeypatch.setattr(learner_group.ray, "put", lambda batch: batch)
    run(scenario)


def test_a_push_that_does_not_end_breaks_the_group_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_group, "PUSH_GRACE_S", 0.0)

    async def scenario(rank: SerialRank) -> None:
        rank.push_may_end.clear()
        group = group_over(rank)
        with pytest.raises(WeightPushError, match="did not end within"):
            await group.publish([], deadline_s=DEADLINE_S)
        with pytest.raises(LearnerError, match="a push did not end"):
            await group.save("folder")

    run(scenario)


def test_no_step_comes_between_a_push_and_its_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_group.ray, "put", lambda batch: batch)

    async def scenario(rank: SerialRank) -> None:
        rank.push_may_end.clear()
        rank.step_may_end.set()
        group = group_over(rank)
        publish = asyncio.ensure_future(group.publish([Target(-1.0, -2.0)], deadline_s=10))
        await asyncio.sleep(0)
        step = asyncio.ensure_future(group.step([]))
        await asyncio.sleep(0)
        rank.push_may_end.set()
        assert await publish == 0
        await step
        assert rank.done == ["probe_logprobs", "push", "step"]

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
