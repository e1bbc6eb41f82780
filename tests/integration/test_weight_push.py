"""A push changes what vLLM computes to what the learner's weights compute, whole or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")
pytest.importorskip("deepspeed")

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray
import torch
from rollouts_for_tests import greedy_ids, make_request, rollout_config, tempered_logprobs

from actors.actor_pool import ActorPool
from learner.push.delivery import Deliveries
from learner.push.nccl_publisher import NcclPublisher
from learner.push.snapshot import SnapshotTaker
from learner.push.weight_buckets import pack, plan_buckets
from stepcoder_dist.config import ProcessResources
from stepcoder_dist.errors import AwaitsWeights, MissingEngine, RunError, WeightPushError
from stepcoder_dist.records import Completion, RolloutRequest, WeightBucket, WeightSnapshot

# The workers of Ray cannot import a test module: send its classes along.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.usefixtures("local_ray")]

PROMPT = [40, 41, 42, 43, 44, 45]
BUCKET_BYTES = 2**16
"""Small: the tiny model travels in several buckets."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


@pytest.fixture(scope="module")
def pool(tiny_checkpoint: Path, runner: asyncio.Runner) -> Iterator[ActorPool]:
    pool = ActorPool(rollout_config(tiny_checkpoint, actors=2), tiny_checkpoint)
    try:
        runner.run(pool.start())
        yield pool
    finally:
        runner.run(pool.close())


@pytest.fixture
def targets(pool: ActorPool, runner: asyncio.Runner) -> Sequence[Any]:
    return runner.run(pool.weight_targets())


@pytest.fixture(scope="module")
def ranks() -> Iterator[list[Any]]:
    """Two DeepSpeed ranks as Ray actors."""
    rank_class = ray.remote(Rank).options(num_cpus=1)
    ranks = [rank_class.remote() for _ in range(2)]
    address = ray.get(ranks[0].address.remote())
    ray.get([rank.join.remote(number, 2, address) for number, rank in enumerate(ranks)])
    yield ranks
    for rank in ranks:
        ray.kill(rank)


class Rank:
    """The smallest learner rank: a model in a DeepSpeed engine, one step, a snapshot."""

    def address(self) -> tuple[str, int]:
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1", probe.getsockname()[1]

    def join(self, rank: int, world_size: int, address: tuple[str, int]) -> None:
        os.environ |= {
            "DS_ACCELERATOR": "cpu",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": address[0],
            "MASTER_PORT": str(address[1]),
        }
        # DeepSpeed would compile a shared-memory all-reduce for 100 s.
        importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None
        import deepspeed

        deepspeed.init_distributed("gloo", verbose=False)
        self.rank, self.world_size = rank, world_size

    def train(self, checkpoint: str, stage: int) -> None:
        """Load the checkpoint at a ZeRO stage and change every weight by some 0.05 a step."""
        import deepspeed
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": stage},
            "optimizer": {"type": "AdamW", "params": {"lr": 0.05, "torch_adam": True}},
        }
        self.engine, *_ = deepspeed.initialize(model=model, config=config)
        for _ in range(4):
            self.step()

    def step(self) -> None:
        ids = torch.arange(20, 60).reshape(1, -1) + self.rank
        loss = self.engine(input_ids=ids, labels=ids).loss
        self.engine.backward(loss)
        self.engine.step()

    def snapshot(self, version: int) -> tuple[Any, ...]:
        module = self.engine.module
        return SnapshotTaker(module, self.rank, self.world_size, BUCKET_BYTES).take(version)

    def weights(self) -> dict[str, np.ndarray]:
        """Every parameter whole, by DeepSpeed's own consolidation rather than the publisher's."""
        import deepspeed

        parameters = dict(self.engine.module.named_parameters())
        with deepspeed.zero.GatheredParameters(list(parameters.values()), modifier_rank=None):
            return {name: p.detach().numpy().copy() for name, p in parameters.items()}


def reference_model(checkpoint: Path, weights: dict[str, np.ndarray] | None = None) -> Any:
    """transformers' model with the checkpoint's weights, or with these."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(checkpoint), dtype=torch.float32).eval()
    if weights is not None:
        tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        assert set(missing) <= {"lm_head.weight"}
        assert not unexpected
    return model


def changed_model(checkpoint: Path, seed: int) -> Any:
    """The checkpoint's model with noise on every weight."""
    model = reference_model(checkpoint)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.05)
    return model


def push_from_here(
    model: Any, version: int, targets: Sequence[Any], deadline_s: float = 60
) -> None:
    deliver(SnapshotTaker(model, 0, 1, BUCKET_BYTES).take(version), version, targets, deadline_s)


def deliver(
    buckets: tuple[Any, ...], version: int, targets: Sequence[Any], deadline_s: float = 60
) -> None:
    snapshot = WeightSnapshot(version=version, buckets=buckets, probe_logprobs=())
    asyncio.run(Deliveries().deliver(snapshot, targets, None, deadline_s))


def ended(stream: Any) -> list[Completion]:
    return list(chain.from_iterable(ray.get(list(stream))))


def sample_on(target: Any, requests: list[RolloutRequest]) -> list[Completion]:
    """Sample on one actor, past the pool."""
    return ended(target.sample.options(num_returns="streaming").remote(requests))


def assert_computes_like(target: Any, model: Any, version: int, prompt: Sequence[int]) -> None:
    """Greedy tokens equal, log-probs of sampled tokens within 0.02, the version on both."""
    greedy = make_request(prompt_ids=prompt, temperature=0.0, max_new_tokens=32)
    (written,) = sample_on(target, [greedy])
    assert written.token_ids.tolist() == greedy_ids(model, prompt, 32)
    sampled = sample_on(target, [make_request(seed=s, prompt_ids=prompt) for s in range(4)])
    for completion in sampled:
        expected = tempered_logprobs(model, prompt, completion.token_ids.tolist())
        np.testing.assert_allclose(completion.logprobs, expected, atol=0.02)
        assert (completion.oldest_weights, completion.newest_weights) == (version, version)


@pytest.mark.deepspeed
@pytest.mark.parametrize("stage", [2, 3])
def test_after_a_push_from_two_ranks_both_actors_compute_what_transformers_does(
    stage: int, targets: Sequence[Any], ranks: list[Any], tiny_checkpoint: Path
) -> None:
    before = greedy_ids(reference_model(tiny_checkpoint), PROMPT, 32)
    ray.get([rank.train.remote(str(tiny_checkpoint), stage) for rank in ranks])
    buckets, of_others = ray.get([rank.snapshot.remote(stage) for rank in ranks])
    assert of_others == ()
    assert len(buckets) > 2
    weights, _ = ray.get([rank.weights.remote() for rank in ranks])
    ray.get([rank.step.remote() for rank in ranks])  # the learner's next step is no part of it
    deliver(buckets, stage, targets)

    model = reference_model(tiny_checkpoint, weights)
    assert greedy_ids(model, PROMPT, 32) != before, "training has to change the output"
    for target in targets:
        assert_computes_like(target, model, stage, PROMPT)
        probe = ray.get(target.probe.remote(PROMPT))
        assert probe.version == stage
        expected = tempered_logprobs(model, PROMPT[:1], PROMPT[1:])
        np.testing.assert_allclose(probe.logprobs, expected, atol=0.02)


@pytest.mark.deepspeed
def test_a_target_that_refuses_is_named_and_the_other_is_served(
    targets: Sequence[Any], tiny_checkpoint: Path
) -> None:
    deaf = ray.remote(DeafTarget).options(num_cpus=0).remote()
    model = changed_model(tiny_checkpoint, seed=9)

    with pytest.raises(WeightPushError, match=r"did not reach 1 of 2 .* target 0 .*no ears"):
        push_from_here(model, 4, [deaf, targets[0]])

    assert ray.get(targets[0].stats.remote()).version == 4


class DeafTarget:
    """A rollout actor that takes no weights."""

    def start_update(self, version: int) -> None:
        raise RunError(f"no ears for version {version}")

    def abort_update(self, version: int) -> None:
        pass


def test_cached_prefixes_of_the_old_weights_are_not_used_after_a_push(
    targets: Sequence[Any], tiny_checkpoint: Path
) -> None:
    long_prompt = [20 + place % 200 for place in range(300)]  # two full cache blocks of 128
    sample_on(targets[0], [make_request(prompt_ids=long_prompt)])
    model = changed_model(tiny_checkpoint, seed=1)

    push_from_here(model, 5, targets)

    assert_computes_like(targets[0], model, 5, long_prompt)


def test_shares_that_come_during_an_update_wait_for_it_and_carry_the_new_version(
    targets: Sequence[Any], tiny_checkpoint: Path
) -> None:
    model = changed_model(tiny_checkpoint, seed=2)
    buckets = buckets_of(model, 6)
    ray.get(targets[0].start_update.remote(6))
    waiting = targets[0].sample.options(num_returns="streaming").remote([make_request()])
    for bucket in buckets:
        ray.get(targets[0].load_bucket.remote(bucket))
    ray.get(targets[0].finish_update.remote(6, len(buckets)))

    (completion,) = ended(waiting)

    assert completion.oldest_weights == 6


def test_an_update_waits_for_what_is_decoding_and_can_be_given_up_meanwhile(
    targets: Sequence[Any],
) -> None:
    version = ray.get(targets[0].stats.remote()).version
    long = [make_request(seed=s, temperature=0.0, max_new_tokens=400) for s in range(8)]
    decoding = targets[0].sample.options(num_returns="streaming").remote(long)
    while ray.get(targets[0].stats.remote()).decoding == 0:
        pass
    start = targets[0].start_update.remote(7)
    ray.get(targets[0].stats.remote())
    ray.get(targets[0].abort_update.remote(7))
    with pytest.raises(WeightPushError, match="given up"):
        ray.get(start)

    versions = {c.newest_weights for c in ended(decoding)}

    assert versions == {version}
    assert len(sample_on(targets[0], [make_request()])) == 1


def buckets_of(model: Any, version: int) -> list[WeightBucket]:
    return [pack(bucket, version) for bucket in plan_buckets(model, BUCKET_BYTES)]


def damaged(bucket: WeightBucket) -> WeightBucket:
    first = bucket.tensors[0].copy()
    first[100] ^= 1
    return dataclasses.replace(bucket, tensors=(first, *bucket.tensors[1:]))


def renamed(bucket: WeightBucket) -> WeightBucket:
    return dataclasses.replace(bucket, names=("model.no_such.weight", *bucket.names[1:]))


def reshaped(bucket: WeightBucket) -> WeightBucket:
    rows, columns = bucket.shapes[0]
    return dataclasses.replace(bucket, shapes=((columns, rows), *bucket.shapes[1:]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "arrived damaged: its checksum"),
        (renamed, "no parameter model.no_such.weight"),
        (reshaped, "has shape"),
    ],
)
def test_a_bad_first_bucket_is_refused_and_the_actor_keeps_its_old_version(
    targets: Sequence[Any], tiny_checkpoint: Path, spoil: Any, message: str
) -> None:
    model = changed_model(tiny_checkpoint, seed=3)
    push_from_here(model, 8, targets)
    first, *_ = buckets_of(changed_model(tiny_checkpoint, seed=4), 9)

    ray.get(targets[0].start_update.remote(9))
    with pytest.raises(WeightPushError, match=message):
        ray.get(targets[0].load_bucket.remote(spoil(first)))
    ray.get(targets[0].abort_update.remote(9))

    assert_computes_like(targets[0], model, 8, PROMPT)


def test_an_actor_with_half_a_push_refuses_work_until_a_whole_one(
    targets: Sequence[Any], tiny_checkpoint: Path
) -> None:
    model = changed_model(tiny_checkpoint, seed=5)
    first, second, *_ = buckets_of(changed_model(tiny_checkpoint, seed=6), 10)

    ray.get(targets[0].start_update.remote(10))
    ray.get(targets[0].load_bucket.remote(first))
    with pytest.raises(WeightPushError, match="sent twice"):
        ray.get(targets[0].load_bucket.remote(first))
    with pytest.raises(WeightPushError, match="arrived damaged"):
        ray.get(targets[0].load_bucket.remote(damaged(second)))
    ray.get(targets[0].abort_update.remote(10))

    with pytest.raises(AwaitsWeights):
        sample_on(targets[0], [make_request()])
    with pytest.raises(AwaitsWeights):
        ray.get(targets[0].probe.remote(PROMPT))

    push_from_here(model, 11, targets)
    assert_computes_like(targets[0], model, 11, PROMPT)


def test_a_push_that_lacks_parameters_is_refused_at_its_end(
    targets: Sequence[Any], tiny_checkpoint: Path
) -> None:
    model = changed_model(tiny_checkpoint, seed=7)
    *most, last = buckets_of(model, 12)
    ray.get(targets[0].start_update.remote(12))
    ray.get([targets[0].load_bucket.remote(bucket) for bucket in most])

    with pytest.raises(WeightPushError, match=rf"incomplete: {len(most)} of {len(most) + 1}"):
        ray.get(targets[0].finish_update.remote(12, len(most) + 1))
    with pytest.raises(AwaitsWeights):
        sample_on(targets[0], [make_request()])

    assert last.version == 12
    push_from_here(model, 13, targets)
    assert_computes_like(targets[0], model, 13, PROMPT)


def test_nccl_without_gpus_is_refused_rather_than_turned_into_nothing(
    tiny_checkpoint: Path,
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingEngine, match='use "object_store"'):
        NcclPublisher(reference_model(tiny_checkpoint), 0, 1, BUCKET_BYTES)


@pytest.mark.gpu
@pytest.mark.skipif(
    torch.cuda.device_count() < 2,
    reason="NCCL needs two GPUs: one for the learner's rank, one for the actor",
)
def test_an_nccl_push_changes_what_the_actor_computes(
    runner: asyncio.Runner, tiny_checkpoint: Path
) -> None:
    config = rollout_config(tiny_checkpoint)
    on_gpu = config.model_copy(
        update={
            "actors": config.actors.model_copy(
                update={"resources": ProcessResources(num_gpus=1), "gpu_memory_share": 0.3}
            ),
            "weights": config.weights.model_copy(update={"transport": "nccl"}),
        }
    )

    @ray.remote(num_gpus=1)
    def push(version: int, targets: Sequence[Any]) -> dict[str, np.ndarray]:
        model = changed_model(tiny_checkpoint, seed=20).cuda()
        NcclPublisher(model, 0, 1, BUCKET_BYTES).push(version, targets, 120)
        return {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}

    pool = ActorPool(on_gpu, tiny_checkpoint)
    pool._slots[0].name = "rollout-gpu"  # another pool of this session has rollout-0
    try:
        runner.run(pool.start())
        (target,) = runner.run(pool.weight_targets())
        weights = ray.get(push.remote(1, [target]))
        assert_computes_like(target, reference_model(tiny_checkpoint, weights), 1, PROMPT)
    finally:
        runner.run(pool.close())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA IPC needs a GPU")
def test_an_ipc_push_changes_what_the_actor_on_the_same_gpu_computes(
    runner: asyncio.Runner, tiny_checkpoint: Path
) -> None:
    from learner.push.ipc_publisher import IpcPublisher

    shared = ProcessResources(num_gpus=0.5)
    base = rollout_config(tiny_checkpoint)
    parts = {
        "colocate": True,
        "actors": base.actors.model_copy(update={"resources": shared, "gpu_memory_share": 0.3}),
        "learner": base.learner.model_copy(update={"resources": shared}),
        "weights": base.weights.model_copy(update={"transport": "ipc"}),
    }

    @ray.remote(num_gpus=0.5)
    def push(version: int, targets: Sequence[Any]) -> dict[str, np.ndarray]:
        model = changed_model(tiny_checkpoint, seed=version).cuda()
        IpcPublisher(model, 0, 1, BUCKET_BYTES).push(version, targets, 120)
        return {name: p.detach().cpu().numpy() for name, p in model.named_parameters()}

    pool = ActorPool(base.model_copy(update=parts), tiny_checkpoint)
    pool._slots[0].name = "rollout-gpu"  # another pool of this session has rollout-0
    try:
        runner.run(pool.start())
        for version in (1, 2):
            runner.run(pool.rest())
            (target,) = runner.run(pool.weight_targets())
            weights = ray.get(push.remote(version, [target]))
            model = reference_model(tiny_checkpoint, weights)
            assert_computes_like(target, model, version, PROMPT)
    finally:
        runner.run(pool.close())


async def collect(pool: ActorPool, requests: list[RolloutRequest]) -> list[Completion]:
    return [completion async for completion in pool.sample(requests)]


def test_a_killed_actor_is_replaced_and_gets_no_work_before_it_has_the_weights(
    pool: ActorPool, runner: asyncio.Runner, targets: Sequence[Any], tiny_checkpoint: Path
) -> None:
    model = changed_model(tiny_checkpoint, seed=8)
    push_from_here(model, 14, targets)
    refused: list[bool] = []

    async def refresh(replaced: Sequence[Any]) -> None:
        (target,) = replaced
        assert target not in targets
        try:
            await asyncio.to_thread(sample_on, target, [make_request()])
        except AwaitsWeights:
            refused.append(True)
        # The pool routes to the survivor meanwhile.
        meanwhile = await asyncio.gather(*(collect(pool, [make_request()]) for _ in range(4)))
        assert {c.actor for (c,) in meanwhile} == {"rollout-1"}
        await asyncio.to_thread(push_from_here, model, 14, replaced)

    async def lose_one() -> list[Completion]:
        pool.refresh_with(refresh)
        long = [make_request(seed=s, temperature=0.0, max_new_tokens=450) for s in range(16)]
        lost = pool.sample([make_request(max_new_tokens=2), *long])
        assert (await anext(lost)).actor == "rollout-0"
        ray.kill(targets[0])
        with pytest.raises(RunError, match="rollout-0 gave up 16 samples"):
            async for _ in lost:
                pass
        await pool._slots[0].keeper
        shares = [collect(pool, [make_request(seed=s)]) for s in range(4)]
        return [c for share in await asyncio.gather(*shares) for c in share]

    completions = runner.run(lose_one())

    assert refused == [True]
    assert {c.actor for c in completions} == {"rollout-0", "rollout-1"}
    assert {c.newest_weights for c in completions} == {14}
    assert_computes_like(runner.run(pool.weight_targets())[0], model, 14, PROMPT)
