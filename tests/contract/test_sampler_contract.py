"""What every `ports.Sampler` promises: the pool of vLLM actors, and the fake that ships."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from rollouts_for_tests import make_request, rollout_config

from stepcoder_dist.loop.fakes import FakeSampler
from stepcoder_dist.ports import Sampler
from stepcoder_dist.records import Completion, RolloutRequest


def spell(request: RolloutRequest) -> str:
    """A policy for the fake: some text that depends on the ticket's seed."""
    return f"x = {request.ticket.seed}\nprint('日本')\n" * (1 + request.ticket.seed % 3)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("actor_pool", marks=[pytest.mark.ray, pytest.mark.vllm]),
        "fake",
    ],
)
def sampler(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Sampler]:
    if request.param == "fake":
        yield FakeSampler(spell, width=2)
        return
    request.getfixturevalue("local_ray")
    from actors.actor_pool import ActorPool

    checkpoint = request.getfixturevalue("tiny_checkpoint")
    pool = ActorPool(rollout_config(checkpoint, actors=2), checkpoint)
    try:
        runner.run(pool.start())
        yield pool
    finally:
        runner.run(pool.close())


async def collect(sampler: Sampler, share: Sequence[RolloutRequest]) -> list[Completion]:
    return [completion async for completion in sampler.sample(share)]


def by_sample(completions: Sequence[Completion]) -> dict[str, Completion]:
    return {completion.sample_id: completion for completion in completions}


NEW_TOKENS = 24
"""At most, of a sample; `make_request` asks for them."""


def shares(count: int, **options: Any) -> list[RolloutRequest]:
    return [make_request(seed=seed, **options) for seed in range(count)]


def test_every_request_comes_back_exactly_once(sampler: Sampler, runner: asyncio.Runner) -> None:
    completions = runner.run(collect(sampler, shares(8)))
    ids = sorted(completion.sample_id for completion in completions)
    assert ids == [f"s{seed}" for seed in range(8)]


def test_arrays_agree_with_each_other_and_with_the_text(
    sampler: Sampler, runner: asyncio.Runner
) -> None:
    for completion in runner.run(collect(sampler, shares(8))):
        tokens = len(completion.token_ids)
        assert 1 <= tokens <= NEW_TOKENS
        assert completion.token_ids.dtype == np.int32
        assert completion.logprobs.dtype == np.float32
        assert completion.char_spans.dtype == np.int32
        assert completion.logprobs.shape == (tokens,)
        assert completion.char_spans.shape == (tokens, 2)
        assert np.isfinite(completion.logprobs).all()
        assert (completion.logprobs <= 0).all()
        assert completion.ended or tokens == NEW_TOKENS
        assert completion.actor
        assert completion.oldest_weights == completion.newest_weights == 0


def test_spans_tile_the_text_and_the_end_token_stands_empty_at_its_end(
    sampler: Sampler, runner: asyncio.Runner
) -> None:
    for completion in runner.run(collect(sampler, shares(8))):
        covered = 0
        for start, end in completion.char_spans.tolist():
            assert start in (covered, previous_start(completion, covered))
            covered = max(covered, end)
        assert covered == len(completion.text)
        if completion.ended:
            end = len(completion.text)
            assert completion.char_spans[-1].tolist() == [end, end]


def previous_start(completion: Completion, covered: int) -> int:
    """Where the span that ends at `covered` begins: tokens may share it."""
    spans = completion.char_spans.tolist()
    return next((start for start, end in spans if end == covered and start < end), covered)


def test_the_same_share_gives_the_same_tokens_again(
    sampler: Sampler, runner: asyncio.Runner
) -> None:
    first = by_sample(runner.run(collect(sampler, shares(12))))
    second = by_sample(runner.run(collect(sampler, shares(12))))
    for sample_id, completion in first.items():
        assert completion.token_ids.tolist() == second[sample_id].token_ids.tolist()
        assert completion.logprobs.tolist() == second[sample_id].logprobs.tolist()


def test_other_seeds_give_other_tokens(sampler: Sampler, runner: asyncio.Runner) -> None:
    texts = {completion.text for completion in runner.run(collect(sampler, shares(3)))}
    assert len(texts) == 3


def test_a_share_with_more_prompt_than_one_engine_step_takes_is_completed(
    sampler: Sampler, runner: asyncio.Runner
) -> None:
    share = [
        make_request(seed=seed, prompt_ids=[40 + seed, *range(40, 240)], max_new_tokens=4)
        for seed in range(48)
    ]
    assert len(runner.run(collect(sampler, share))) == 48


def test_an_empty_share_yields_nothing(sampler: Sampler, runner: asyncio.Runner) -> None:
    assert runner.run(collect(sampler, [])) == []


def test_two_shares_at_once_are_both_completed(sampler: Sampler, runner: asyncio.Runner) -> None:
    async def both() -> tuple[list[Completion], list[Completion]]:
        return await asyncio.gather(  # type: ignore[return-value]
            collect(sampler, shares(5)), collect(sampler, shares(7))
        )

    first, second = runner.run(both())
    assert (len(first), len(second)) == (5, 7)


def test_leaving_a_share_half_way_leaves_the_sampler_usable(
    sampler: Sampler, runner: asyncio.Runner
) -> None:
    async def leave_and_come_back() -> list[Completion]:
        stream = sampler.sample(shares(6))
        await anext(stream)
        await stream.aclose()
        return await collect(sampler, shares(4))

    assert len(runner.run(leave_and_come_back())) == 4


def test_a_sampler_says_how_wide_it_is_and_where_weights_go(
    sampler: Sampler, runner: asyncio.Runner
) -> None:
    assert sampler.width == 2
    assert len(runner.run(sampler.weight_targets())) >= 1
