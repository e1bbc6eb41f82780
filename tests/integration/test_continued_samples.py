"""`weights.on_update = "continue"`: the weights change under what an engine decodes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")
pytest.importorskip("deepspeed")

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray
from rollouts_for_tests import make_request, rollout_config, tempered_logprobs
from test_weight_push import (
    assert_computes_like,
    buckets_of,
    changed_model,
    push_from_here,
    reference_model,
    sample_on,
)

from actors.actor_pool import ActorPool
from stepcoder_dist.config import RunConfig, TrainConfig
from stepcoder_dist.errors import AwaitsWeights, WeightPushError
from stepcoder_dist.records import Completion

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("local_ray")]

PROMPT = [40, 41, 42, 43, 44, 45]
LONG = 400
"""Tokens of a sample that is still decoding when a push has ended."""
ROOM = 8
"""Sequences that the engine decodes at once."""


def settings(checkpoint: Path) -> RunConfig:
    config = rollout_config(checkpoint)
    return config.model_copy(
        update={
            "train": TrainConfig(max_staleness=2),
            "weights": config.weights.model_copy(update={"on_update": "continue"}),
            "actors": config.actors.model_copy(update={"max_batch": ROOM}),
        }
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(scope="module")
def target(tiny_checkpoint: Path, runner: asyncio.Runner) -> Iterator[Any]:
    pool = ActorPool(settings(tiny_checkpoint), tiny_checkpoint)
    pool._slots[0].name = "rollout-continues"
    try:
        runner.run(pool.start())
        (handle,) = runner.run(pool.weight_targets())
        yield handle
    finally:
        runner.run(pool.close())


def decode(target: Any, count: int, tokens: int = LONG) -> Any:
    """Start long greedy samples; return their stream when all are in the engine."""
    long = [
        make_request(
            seed=100 + s, prompt_ids=[50 + s, *PROMPT], temperature=0.0, max_new_tokens=tokens
        )
        for s in range(count)
    ]
    stream = target.sample.options(num_returns="streaming").remote(long)
    while ray.get(target.stats.remote()).decoding < min(count, ROOM):
        pass
    return stream


def ended(stream: Any) -> list[Completion]:
    return list(chain.from_iterable(ray.get(list(stream))))


def version_of(target: Any) -> int:
    return ray.get(target.stats.remote()).version


def test_a_push_passes_under_samples_that_continue_and_say_which_weights_wrote_them(
    target: Any, tiny_checkpoint: Path
) -> None:
    old, new = version_of(target), version_of(target) + 1
    before = reference_model(tiny_checkpoint)
    model = changed_model(tiny_checkpoint, seed=30)
    stream = decode(target, 4)
    paused = ray.get(target.stats.remote()).paused_s

    push_from_here(model, new, [target])
    after = ray.get(target.stats.remote())

    assert after.decoding == 4, "nothing was ended for the push"
    assert after.version == new
    assert after.paused_s > paused
    completions = ended(stream)
    assert {(c.oldest_weights, c.newest_weights) for c in completions} == {(old, new)}
    for completion in completions:
        prompt = [50 + int(completion.sample_id.removeprefix("s")) - 100, *PROMPT]
        ids = completion.token_ids.tolist()
        first = tempered_logprobs(before, prompt, ids[:1])
        np.testing.assert_allclose(completion.logprobs[:1], first, atol=0.02)
        # the tail was written by other weights, over the old ones' keys and values
        assert np.abs(tempered_logprobs(before, prompt, ids) - completion.logprobs)[-1] > 0.1


def test_a_new_request_finds_no_prefix_that_the_old_weights_cached(
    target: Any, tiny_checkpoint: Path
) -> None:
    long_prompt = [20 + place % 200 for place in range(300)]  # two full cache blocks of 128
    sample_on(target, [make_request(prompt_ids=long_prompt)])
    stream = decode(target, 4)
    new = version_of(target) + 1
    model = changed_model(tiny_checkpoint, seed=31)

    push_from_here(model, new, [target])
    assert ray.get(target.stats.remote()).decoding == 4, "the cache was in use at the commit"
    assert_computes_like(target, model, new, long_prompt)
    probe = ray.get(target.probe.remote(long_prompt))
    expected = tempered_logprobs(model, long_prompt[:1], long_prompt[1:])
    np.testing.assert_allclose(probe.logprobs, expected, atol=0.02)
    ended(stream)


def test_what_the_engine_has_no_room_for_is_sampled_by_the_new_weights(
    target: Any, tiny_checkpoint: Path
) -> None:
    old, new = version_of(target), version_of(target) + 1
    stream = decode(target, ROOM + 3, tokens=200)
    push_from_here(changed_model(tiny_checkpoint, seed=32), new, [target])
    assert ray.get(target.stats.remote()).decoding == ROOM
    oldest = sorted(c.oldest_weights for c in ended(stream))
    assert oldest == [old] * ROOM + [new] * 3


@pytest.mark.parametrize("sent", ["nothing", "a part", "all but the commit"])
def test_a_push_that_ends_before_its_commit_has_changed_nothing(
    target: Any, tiny_checkpoint: Path, sent: str
) -> None:
    model = changed_model(tiny_checkpoint, seed=33)
    push_from_here(model, version_of(target) + 1, [target])
    held = version_of(target)
    stream = decode(target, 2, tokens=200)
    buckets = buckets_of(changed_model(tiny_checkpoint, seed=34), held + 1)
    count = {"nothing": 0, "a part": 2, "all but the commit": len(buckets)}[sent]

    ray.get(target.start_update.remote(held + 1))
    for bucket in buckets[:count]:
        ray.get(target.load_bucket.remote(bucket))
    if sent == "a part":
        with pytest.raises(WeightPushError, match="is incomplete"):
            ray.get(target.finish_update.remote(held + 1, len(buckets)))
    ray.get(target.abort_update.remote(held + 1))

    assert_computes_like(target, model, held, PROMPT)
    assert {c.newest_weights for c in ended(stream)} == {held}


def test_a_swap_that_breaks_takes_what_is_decoding_with_it_and_the_actor_awaits_weights(
    target: Any, tiny_checkpoint: Path
) -> None:
    new = version_of(target) + 1
    model = changed_model(tiny_checkpoint, seed=35)
    buckets = buckets_of(model, new)
    assert len(buckets) > 1
    stream = decode(target, ROOM + 2)
    ray.get(target.__ray_call__.remote(break_at_the_second_bucket))

    ray.get(target.start_update.remote(new))
    for bucket in buckets:
        ray.get(target.load_bucket.remote(bucket))
    with pytest.raises(RuntimeError, match="a tensor was lost"):
        ray.get(target.finish_update.remote(new, len(buckets)))

    with pytest.raises(AwaitsWeights):
        ended(stream)
    with pytest.raises(AwaitsWeights):
        sample_on(target, [make_request()])
    with pytest.raises(AwaitsWeights):
        ray.get(target.probe.remote(PROMPT))
    assert ray.get(target.stats.remote()).decoding == 0

    push_from_here(model, new + 1, [target])
    assert_computes_like(target, model, new + 1, PROMPT)


def break_at_the_second_bucket(actor: Any) -> None:
    """In the actor: the engine fails once, when a part of the new weights is loaded."""
    engine = actor._sampler._receiver._engine
    real, calls = engine.collective_rpc, []

    def rpc(method: str, *arguments: Any, **named: Any) -> Any:
        if method == "update_weights":
            calls.append(method)
            if len(calls) == 2:
                engine.collective_rpc = real
                raise RuntimeError("a tensor was lost")
        return real(method, *arguments, **named)

    engine.collective_rpc = rpc
