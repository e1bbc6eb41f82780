"""One vLLM rollout actor against transformers: what is sampled, reported, streamed, cancelled."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[1]))
from rollouts_for_tests import greedy_ids, make_request, rollout_config, tempered_logprobs

from actors.actor_pool import ActorPool
from stepcoder_dist.errors import ConfigError, MissingEngine, RunError
from stepcoder_dist.records import Completion, RolloutRequest

# Ray is started before the pool: a session fixture comes first.
pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("local_ray")]

PROMPT = (40, 41, 42, 43, 44, 45)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(scope="module")
def pool(tiny_checkpoint: Path, runner: asyncio.Runner) -> Iterator[ActorPool]:
    pool = ActorPool(rollout_config(tiny_checkpoint), tiny_checkpoint)
    try:
        runner.run(pool.start())
        yield pool
    finally:
        runner.run(pool.close())


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), dtype="float32").eval()


async def collect(pool: ActorPool, share: list[RolloutRequest]) -> list[Completion]:
    return [completion async for completion in pool.sample(share)]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_of_sampled_tokens_are_those_of_transformers_at_that_temperature(
    pool: ActorPool, runner: asyncio.Runner, model: Any, temperature: float
) -> None:
    share = [make_request(seed=s, prompt_ids=PROMPT, temperature=temperature) for s in range(8)]
    for completion in runner.run(collect(pool, share)):
        expected = tempered_logprobs(model, PROMPT, completion.token_ids.tolist(), temperature)
        np.testing.assert_allclose(completion.logprobs, expected, atol=0.02)


def test_with_a_nucleus_the_logprobs_are_those_of_the_cut_distribution(
    pool: ActorPool, runner: asyncio.Runner, model: Any
) -> None:
    import torch

    (completion,) = runner.run(
        collect(pool, [make_request(prompt_ids=PROMPT, top_p=0.5, max_new_tokens=1)])
    )
    with torch.no_grad():
        probabilities = torch.softmax(model(torch.tensor([PROMPT])).logits[0, -1].float(), dim=-1)
    ordered = probabilities.sort(descending=True).values
    inside = ordered[: int((ordered.cumsum(0) < 0.5).sum()) + 1].sum()
    expected = float(torch.log(probabilities[completion.token_ids[0]] / inside))
    assert completion.logprobs[0] == pytest.approx(expected, abs=0.02)


def test_greedy_tokens_are_those_of_transformers(
    pool: ActorPool, runner: asyncio.Runner, model: Any
) -> None:
    share = [make_request(prompt_ids=PROMPT, temperature=0.0, max_new_tokens=40)]
    (completion,) = runner.run(collect(pool, share))
    assert completion.token_ids.tolist() == greedy_ids(model, PROMPT, 40)


def test_the_text_is_what_the_tokenizer_prints_after_the_prompt(
    pool: ActorPool, runner: asyncio.Runner, tiny_checkpoint: Path
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_checkpoint / "tokenizer.json"))
    prompt = tokenizer.encode("n = int(input())\nif").ids
    end = tokenizer.token_to_id("<|endoftext|>")
    share = [make_request(seed=s, prompt_ids=prompt, temperature=0.7) for s in range(16)]
    for completion in runner.run(collect(pool, share)):
        ids = completion.token_ids.tolist()
        assert completion.ended == (ids[-1] == end)
        assert end not in ids[:-1]
        printed = ids[:-1] if completion.ended else ids
        whole = tokenizer.decode(printed, skip_special_tokens=False)
        # The decoder prints an unfinished character at the very end as "�", a stream does not.
        assert whole.rstrip("�") == completion.text.rstrip("�")


def test_short_completions_arrive_while_a_long_one_is_still_decoding(
    pool: ActorPool, runner: asyncio.Runner
) -> None:
    long = make_request(seed=99, temperature=0.0, max_new_tokens=400)
    short = [make_request(seed=s, max_new_tokens=2) for s in range(4)]

    async def first_and_rest() -> tuple[Completion, int, list[Completion]]:
        stream = pool.sample([long, *short])
        first = await anext(stream)
        (stats,) = await pool.stats()
        return first, stats.decoding, [completion async for completion in stream]

    first, decoding, rest = runner.run(first_and_rest())
    assert first.sample_id != "s99"
    assert decoding >= 1
    assert rest[-1].sample_id == "s99"
    assert rest[-1].seconds > first.seconds


def test_a_share_that_nobody_reads_any_more_leaves_the_engine(
    pool: ActorPool, runner: asyncio.Runner
) -> None:
    share = [make_request(seed=99, max_new_tokens=2)]
    share += [make_request(seed=s, temperature=0.0, max_new_tokens=500) for s in range(40)]

    async def leave() -> tuple[int, int]:
        (before,) = await pool.stats()
        stream = pool.sample(share)
        await anext(stream)
        await stream.aclose()
        while True:
            (stats,) = await pool.stats()
            if stats.decoding == 0:
                return before.finished_samples, stats.finished_samples

    before, after = runner.run(asyncio.wait_for(leave(), 30))
    assert after - before == 1


def test_a_probe_gives_plain_logprobs_of_its_own_tokens(
    pool: ActorPool, runner: asyncio.Runner, model: Any
) -> None:
    (target,) = runner.run(pool.weight_targets())

    async def probe() -> Any:
        return await target.probe.remote([40, 41, 42, 43, 44])

    answer = runner.run(probe())
    expected = tempered_logprobs(model, [40], [41, 42, 43, 44])
    assert answer.version == 0
    np.testing.assert_allclose(answer.logprobs, expected, atol=0.02)


def test_a_request_that_does_not_fit_the_context_is_refused_with_its_sizes(
    pool: ActorPool, runner: asyncio.Runner
) -> None:
    with pytest.raises(RunError, match="6 prompt tokens and 507 new ones"):
        runner.run(collect(pool, [make_request(prompt_ids=PROMPT, max_new_tokens=507)]))
    assert len(runner.run(collect(pool, [make_request(max_new_tokens=4)]))) == 1


def test_a_context_longer_than_the_models_is_refused_before_anything_starts(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    config = rollout_config(tiny_checkpoint)
    longer = config.model_copy(
        update={"model": config.model.model_copy(update={"max_tokens": 4096})}
    )
    with pytest.raises(ConfigError, match="max_tokens = 4096 is above max_position_embeddings"):
        ActorPool(longer, tiny_checkpoint)
    with pytest.raises(ConfigError, match="no model there"):
        ActorPool(config, tmp_path)


def test_a_vllm_that_lacks_a_needed_call_is_named_with_its_version(
    pool: ActorPool, runner: asyncio.Runner
) -> None:
    def complaint(_: Any) -> str:
        # in an actor's process: vllm in the tests' process would slow down all others
        from actors.weight_transfer import check_vllm

        class OldEngine:
            def collective_rpc(self) -> None: ...
            def reset_prefix_cache(self) -> None: ...

        try:
            check_vllm(engine=OldEngine)
        except MissingEngine as error:
            return str(error)
        return ""

    (target,) = runner.run(pool.weight_targets())
    answer = ray.get(target.__ray_call__.remote(complaint))
    assert re.match(r"vLLM \d.* lacks LLMEngine.set_weight_version,", answer)


def test_a_cache_that_is_too_small_is_seen_in_the_engines_figures(
    runner: asyncio.Runner, tiny_checkpoint: Path
) -> None:
    config = rollout_config(tiny_checkpoint)
    # 1 KiB a token: one sequence of full length and a half
    actors = config.actors.model_copy(update={"kv_cache_gib": 768 / 2**20})
    pool = ActorPool(config.model_copy(update={"actors": actors}), tiny_checkpoint)
    pool._slots[0].name = "rollout-small"  # another pool of this session has rollout-0
    share = [make_request(seed=s, max_new_tokens=400) for s in range(6)]

    def shown(actor: Any) -> dict[str, float]:
        """What the actor gave Ray's gauges last."""
        return {name: gauge.last for name, gauge in actor._metrics._load_gauges.items()}

    def watch(actor: Any) -> None:
        class Watched:
            def set(self, value: float) -> None:
                self.last = value

        gauges = actor._metrics._load_gauges
        actor._metrics._load_gauges = {name: Watched() for name in gauges}

    async def scenario() -> tuple[Any, Any, dict[str, float]]:
        await pool.start()
        handle = pool._slots[0].handle
        await handle.__ray_call__.remote(watch)
        stream = pool.sample(share)
        done = [await anext(stream)]
        during = (await pool.stats())[0].load
        done += [completion async for completion in stream]
        assert len(done) == 6
        return during, (await pool.stats())[0].load, await handle.__ray_call__.remote(shown)

    try:
        during, after, gauges = runner.run(scenario())
    finally:
        runner.run(pool.close())
    assert 0 < during.running + during.waiting < 6
    assert 0.3 < during.kv_cache_use <= 1
    assert after.preemptions >= 1
    assert (after.running, after.waiting, after.kv_cache_use) == (0, 0, 0)
    assert gauges == {"running": 0, "waiting": 0, "kv_cache_use": 0}


def test_a_checkpoint_that_vllm_cannot_load_fails_the_start_with_the_reason(
    runner: asyncio.Runner, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    (broken / "model.safetensors").write_bytes(b"not tensors")
    pool = ActorPool(rollout_config(broken), broken)
    pool._slots[0].name = "rollout-broken"  # another pool of this session has rollout-0
    try:
        with pytest.raises(RunError, match=r"did not start: .*model.safetensors: not complete"):
            runner.run(pool.start())
    finally:
        runner.run(pool.close())


def test_closing_the_pool_ends_its_processes(pool: ActorPool, runner: asyncio.Runner) -> None:
    processes = [psutil.Process(stats.pid) for stats in runner.run(pool.stats())]
    assert processes
    runner.run(pool.close())
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
