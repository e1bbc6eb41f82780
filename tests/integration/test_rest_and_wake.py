"""Actors that share their GPU: asleep while the learner steps, awake with the next weights.

On the CPU vLLM takes the same calls in the same order and frees nothing; what is freed on a GPU
is in test_one_gpu.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from rollouts_for_tests import greedy_ids, make_request, rollout_config

from actors.actor_pool import ActorPool
from actors.pool.pool_slot import WAKING, Place
from actors.weight_receiver import State, WeightReceiver
from learner.push.weight_buckets import pack, plan_buckets
from stepcoder_dist.errors import RunError, WeightPushError
from stepcoder_dist.launch.cluster import last_words
from stepcoder_dist.records import Completion, WeightBucket

pytestmark = [pytest.mark.ray, pytest.mark.vllm]

PROMPT = [40, 41, 42, 43, 44, 45]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(scope="module")
def pool(local_ray: None, tiny_checkpoint: Path, runner: asyncio.Runner) -> Iterator[ActorPool]:
    del local_ray
    config = rollout_config(tiny_checkpoint).model_copy(update={"colocate": True})
    pool = ActorPool(config, tiny_checkpoint, last_words=last_words.last_words)
    try:
        runner.run(pool.start())
        yield pool
    finally:
        runner.run(pool.close())


def changed_model(checkpoint: Path, seed: int) -> Any:
    """The checkpoint's model, every weight a little elsewhere."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(checkpoint), dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def buckets_of(model: Any, version: int) -> list[WeightBucket]:
    return [pack(parameters, version) for parameters in plan_buckets(model, 2**16)]


async def push(pool: ActorPool, buckets: list[WeightBucket], version: int) -> None:
    for target in await pool.weight_targets():
        await target.start_update.remote(version)
        for bucket in buckets:
            await target.load_bucket.remote(bucket)
        await target.finish_update.remote(version, len(buckets))


async def sample(pool: ActorPool) -> Completion:
    request = make_request(prompt_ids=PROMPT, temperature=1e-6, max_new_tokens=12)
    (completion,) = [completion async for completion in pool.sample([request])]
    return completion


def test_an_actor_at_rest_samples_again_after_a_push_and_with_its_weights(
    pool: ActorPool, runner: asyncio.Runner, tiny_checkpoint: Path
) -> None:
    async def scenario() -> tuple[list[Any], list[Completion]]:
        told = []
        before = await sample(pool)
        for version in (before.newest_weights + 1, before.newest_weights + 2):
            await pool.rest()
            told.append((await pool.stats())[0].state)
            with pytest.raises(RunError, match="holds no complete weight version"):
                await sample(pool)
            await push(pool, buckets_of(model, version), version)
        return told, [before, await sample(pool)]

    model = changed_model(tiny_checkpoint, seed=1)
    told, (before, after) = runner.run(scenario())
    assert told == ["awaiting weights", "awaiting weights"]
    assert after.oldest_weights == before.newest_weights + 2
    expected = greedy_ids(model, PROMPT, 12)
    assert after.token_ids.tolist() == expected
    assert before.token_ids.tolist() != expected


def test_an_actor_that_is_lost_at_rest_is_replaced_when_the_learner_is_done(
    pool: ActorPool,
    runner: asyncio.Runner,
    tiny_checkpoint: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(last_words, "DEADLINE_S", 60.0)

    async def scenario() -> tuple[Place, int]:
        (before,) = await pool.stats()
        slot = pool._slots[0]
        await slot.handle.__ray_call__.remote(lambda _: os.write(2, b"CUDA error: out of luck\n"))
        os.kill(before.pid, signal.SIGKILL)
        await pool.rest()
        # several turns of the loop, in which a replacement would take its first step
        for _ in range(20):
            await asyncio.sleep(0)
        at_rest = slot.place
        assert await pool.weight_targets() == []
        async with pool._keeper.changed:
            await pool._keeper.changed.wait_for(lambda: slot.place not in (Place.LOST, *WAKING))
        version = before.version + 1
        await push(pool, buckets_of(changed_model(tiny_checkpoint, seed=2), version), version)
        return at_rest, (await sample(pool)).oldest_weights - before.version

    assert runner.run(scenario()) == (Place.LOST, 1)
    runner.run(pool._keeper.lost.logged())
    (words,) = [r.getMessage() for r in caplog.records if "last lines" in r.getMessage()]
    assert words.startswith("rollout-0, the last lines of process ")
    assert "  CUDA error: out of luck" in words.splitlines()


class RecordingEngine:
    """Notes the calls that a receiver makes on vLLM's engine."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def set_weight_version(self, version: str) -> None:
        self.calls.append(f"version {version}")

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: list[str]) -> None:
        self.calls.append(f"wake {' '.join(tags)}")

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset cache")
        return True

    def collective_rpc(self, name: str, args: tuple[Any, ...] = ()) -> None:
        del args
        self.calls.append(name)


def receiver(engine: Any, bucket: WeightBucket) -> WeightReceiver:
    shapes = dict(zip(bucket.names, bucket.shapes, strict=True))
    return WeightReceiver(engine, shapes, optional=frozenset(), awaits_weights=False)


def one_bucket(version: int) -> WeightBucket:
    (plan,) = plan_buckets(torch.nn.Linear(2, 2), 2**20)
    return pack(plan, version)


def test_memory_of_the_cache_comes_back_only_after_the_weights_are_whole() -> None:
    engine, bucket = RecordingEngine(), one_bucket(1)
    tested = receiver(engine, bucket)
    tested.rest()
    tested.rest()
    assert tested.state is State.AWAITING_WEIGHTS
    tested.start(1)
    tested.load(bucket)
    tested.finish(1, 1)
    assert tested.state is State.READY
    assert engine.calls == [
        "version 0",
        "sleep 2",
        "wake weights",
        "start_weight_update",
        "update_weights",
        "finish_weight_update",
        "wake kv_cache",
        "reset cache",
        "version 1",
    ]


def test_a_push_over_ipc_needs_no_group_and_is_checked_as_any_other() -> None:
    engine = RecordingEngine()
    tested = receiver(engine, one_bucket(1))
    tested.join_transfer({"packed": True})
    tested.rest()
    tested.start(1)
    tested.receive({"names": ["weight"], "shapes": [[2, 2]]})
    with pytest.raises(WeightPushError, match="sent twice"):
        tested.receive({"names": ["weight"], "shapes": [[2, 2]]})
    tested.receive({"names": ["bias"], "shapes": [[2]]})
    tested.finish(1, 2)
    assert tested.state is State.READY
    assert engine.calls[:5] == [
        "version 0",
        "shutdown_weight_transfer_engine",
        "init_weight_transfer_engine",
        "sleep 2",
        "wake weights",
    ]


def test_a_push_that_is_given_up_leaves_a_resting_actor_without_weights() -> None:
    engine, bucket = RecordingEngine(), one_bucket(2)
    tested = receiver(engine, bucket)
    tested.rest()
    tested.start(1)
    tested.abort(1)
    assert tested.state is State.AWAITING_WEIGHTS
    tested.start(2)
    tested.load(bucket)
    tested.finish(2, 1)
    assert tested.state is State.READY
    assert engine.calls.count("wake weights") == engine.calls.count("wake kv_cache") == 1


def test_without_rest_a_push_wakes_nothing() -> None:
    engine, bucket = RecordingEngine(), one_bucket(1)
    tested = receiver(engine, bucket)
    tested.start(1)
    tested.load(bucket)
    tested.finish(1, 1)
    assert not [call for call in engine.calls if call.startswith(("wake", "sleep"))]
