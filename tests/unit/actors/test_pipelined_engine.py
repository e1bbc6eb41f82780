"""Sampling, rest and pushes over an engine that schedules ahead of its outputs, as on GPUs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[2]))
from pipelined_engine import PipelinedEngine
from rollouts_for_tests import make_request, rollout_config

from actors import vllm_sampler
from actors.engine_load import EngineLoad
from actors.vllm_sampler import VllmSampler
from learner.push.weight_buckets import pack, plan_buckets
from stepcoder_dist.errors import AwaitsWeights
from stepcoder_dist.records import Completion, WeightBucket

Scenario = Callable[[VllmSampler], Awaitable[None]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> PipelinedEngine:
    engine = PipelinedEngine()
    monkeypatch.setattr(vllm_sampler, "make_engine", lambda *_: engine)
    return engine


@pytest.fixture
def loads() -> list[EngineLoad]:
    return []


@pytest.fixture
def run(
    engine: PipelinedEngine, tiny_checkpoint: Path, loads: list[EngineLoad]
) -> Callable[[Scenario], None]:
    del engine  # made before the sampler asks for it

    def run(scenario: Scenario) -> None:
        async def opened() -> None:
            config = rollout_config(tiny_checkpoint)
            sampler = VllmSampler(
                str(tiny_checkpoint), config, name="rollout-0", on_load=loads.append
            )
            try:
                async with asyncio.timeout(30):
                    await scenario(sampler)
            finally:
                sampler.close()

        asyncio.run(opened())

    return run


@pytest.fixture(scope="module")
def buckets(tiny_checkpoint: Path) -> Callable[[int], list[WeightBucket]]:
    from transformers import AutoModelForCausalLM

    plan = plan_buckets(AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint)), 2**16)
    return lambda version: [pack(parameters, version) for parameters in plan]


async def sample(sampler: VllmSampler, *lengths: int) -> list[Completion]:
    share = [make_request(seed=s, max_new_tokens=n) for s, n in enumerate(lengths)]
    return [completion async for together in sampler.sample(share) for completion in together]


async def push(sampler: VllmSampler, sent: list[WeightBucket]) -> None:
    version = sent[0].version
    await sampler.start_update(version)
    for bucket in sent:
        await sampler.load_bucket(bucket)
    await sampler.finish_update(version, len(sent))


def test_a_step_without_an_output_is_no_end_and_a_stale_batch_is_nobodys(
    run: Callable[[Scenario], None], engine: PipelinedEngine
) -> None:
    async def scenario(sampler: VllmSampler) -> None:
        done = await sample(sampler, 3, 1, 5)
        assert sorted(len(completion.token_ids) for completion in done) == [1, 3, 5]
        assert len(engine.batches) == 1
        assert engine.empty_steps == 1
        # the stale batch of the share before comes out first
        assert [len(completion.token_ids) for completion in await sample(sampler, 2)] == [2]
        assert engine.empty_steps == 1

    run(scenario)
    assert engine.stale > 0
    assert not engine.batches


def test_after_rest_and_push_with_a_batch_in_flight_the_next_share_has_the_new_weights(
    run: Callable[[Scenario], None],
    engine: PipelinedEngine,
    buckets: Callable[[int], list[WeightBucket]],
) -> None:
    async def scenario(sampler: VllmSampler) -> None:
        for version in (1, 2):
            await sample(sampler, 2, 4)
            assert len(engine.batches) == 1
            await sampler.rest()
            with pytest.raises(AwaitsWeights):
                await sample(sampler, 1)
            await push(sampler, buckets(version))
            assert (await sampler.probe([40, 41, 42])).version == version
            (completion,) = await sample(sampler, 3)
            assert completion.token_ids.tolist() == [version] * 3
            assert completion.oldest_weights == completion.newest_weights == version

    run(scenario)
    assert engine.calls == ["sleep 2", "wake weights", "wake kv_cache"] * 2


def test_a_push_waits_for_what_is_decoding_and_holds_what_comes(
    run: Callable[[Scenario], None],
    engine: PipelinedEngine,
    buckets: Callable[[int], list[WeightBucket]],
) -> None:
    async def scenario(sampler: VllmSampler) -> None:
        # all three are asked while the engine is in its first step
        engine.may_step.clear()
        tasks = []
        for asked in (sample(sampler, 40, 1), push(sampler, buckets(1)), sample(sampler, 2)):
            tasks.append(asyncio.create_task(asked))
            await asyncio.sleep(0)
        engine.may_step.set()
        before, pushed, after = tasks
        await pushed
        assert {token for c in await before for token in c.token_ids.tolist()} == {0}
        assert [c.token_ids.tolist() for c in await after] == [[1, 1]]

    run(scenario)


def test_a_share_that_is_cancelled_in_flight_leaves_nothing_behind(
    run: Callable[[Scenario], None], engine: PipelinedEngine, loads: list[EngineLoad]
) -> None:
    async def scenario(sampler: VllmSampler) -> None:
        share = [make_request(seed=s, max_new_tokens=n) for s, n in enumerate((1, 450, 450))]
        stream = sampler.sample(share)
        await anext(stream)
        await stream.aclose()
        assert [len(c.token_ids) for c in await sample(sampler, 3)] == [3]
        await sampler.rest()  # it would wait for what is decoding

    run(scenario)
    assert engine.requests == {}
    assert (loads[-1].running, loads[-1].kv_cache_use) == (0, 0.0)


def test_samples_of_a_share_that_end_in_one_step_come_together(
    run: Callable[[Scenario], None],
) -> None:
    async def scenario(sampler: VllmSampler) -> None:
        share = [make_request(seed=s, max_new_tokens=n) for s, n in enumerate((4, 1, 4, 4, 40))]
        came = [[len(c.token_ids) for c in together] async for together in sampler.sample(share)]
        assert sorted(length for together in came for length in together) == [1, 4, 4, 4, 40]
        assert [together.count(4) for together in came if 4 in together] == [3]

    run(scenario)
