"""One network under DeepSpeed on two gloo ranks, without Ray: sums, precision, what is restored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gloo_ranks import Run, gloo_ranks

pytest.importorskip("deepspeed")

pytestmark = [pytest.mark.deepspeed]

RANKS = 2
MANY = 64
"""Micro-batches of one sample on each rank: enough for a sum in bfloat16 to lose digits."""
FEW = 3


@pytest.fixture(scope="module")
def ranks() -> Iterator[Run]:
    with gloo_ranks(RANKS) as run:
        yield run


def examples() -> list[Any]:
    """Of 5 + 7 tokens; those of rank r are r, r + 2, …"""
    from stepcoder_dist.records import SftExample

    random = np.random.default_rng(0)
    ids = random.integers(0, 512, (RANKS * MANY, 12)).astype(np.int32)
    return [SftExample(prompt_ids=row[:5], completion_ids=row[5:]) for row in ids]


def policy(dtype: str, *, checkpointing: bool = False) -> Any:
    """A random Llama whose weights are the same in every process and dtype."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from learner import policy_critic

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    causal_lm = LlamaForCausalLM(shape).to(torch.bfloat16).to(getattr(torch, dtype))
    policy_critic._prepare(causal_lm, gradient_checkpointing=checkpointing)
    return policy_critic.Policy(causal_lm)


def engine(stage: int, dtype: str, *, checkpointing: bool = False, **learner: Any) -> Any:
    from learner.zero_engine import ZeroEngine
    from stepcoder_dist.config import LearnerConfig, ModelConfig

    return ZeroEngine(
        policy(dtype, checkpointing=checkpointing),
        LearnerConfig(ranks=RANKS, zero_stage=stage, **learner),
        ModelConfig(path="unused", dtype=dtype),
        weight_decay=0.0,
    )


def update(trained: Any, micro_batches: int) -> float:
    """One update on that many examples of each rank; the gradients' norm."""
    import torch

    from learner import batching

    mine = range(torch.distributed.get_rank(), RANKS * micro_batches, RANKS)
    for index in mine:
        logprobs, _ = trained(**batching.pack((index,), examples(), 0).policy_inputs())
        trained.backward(-logprobs.sum() / 100, last=index == mine[-1])
    return float(trained.step(1e-3))


def look(trained: Any) -> None:
    """A pass without gradients over what `update` trains on, as before each step."""
    import torch

    from learner import batching

    with torch.no_grad():
        for index in range(torch.distributed.get_rank(), RANKS * FEW, RANKS):
            trained(**batching.pack((index,), examples(), 0).policy_inputs())


def two_norms(stage: int, dtype: str) -> list[float]:
    trained = engine(stage, dtype)
    return [update(trained, MANY), update(trained, FEW)]


def norm_summed_in_float32(dtype: str) -> float:
    """The same gradients, one after the other on one rank, added up by hand."""
    import torch

    from learner import batching

    alone = policy(dtype)
    sums = [torch.zeros(p.shape) for p in alone.parameters()]
    for index in range(RANKS * MANY):
        logprobs, _ = alone(**batching.pack((index,), examples(), 0).policy_inputs())
        found = torch.autograd.grad(-logprobs.sum() / 100, list(alone.parameters()))
        for total, gradient in zip(sums, found, strict=True):
            total.add_(gradient.float())
    return float(torch.nn.utils.get_total_norm(sums))


def test_bfloat16_gradients_are_summed_in_float32_over_micro_batches_and_ranks(ranks: Run) -> None:
    found = [ranks(two_norms, stage, "bfloat16")[0] for stage in (0, 1, 2, 3)]

    # rounding a sum to bfloat16 after each micro-batch leaves a difference of 7e-5
    by_hand = ranks(norm_summed_in_float32, "bfloat16")[0]
    assert [first for first, _ in found] == pytest.approx([by_hand] * 4, rel=3e-6)
    # every stage moves the weights alike
    seconds = [second for _, second in found]
    assert seconds == pytest.approx([seconds[2]] * 4, rel=1e-5)


def restored(stage: int, dtype: str, folder: str) -> tuple[list[float], list[float]]:
    """Norms of two updates after a save, and of the same two after loading it again."""
    trained = engine(stage, dtype)
    update(trained, FEW)
    trained.save(Path(folder))
    straight = [update(trained, FEW), update(trained, FEW)]
    again = engine(stage, dtype)
    again.load(Path(folder))
    return straight, [update(again, FEW), update(again, FEW)]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_what_was_saved_in_bfloat16_continues_bitwise(
    ranks: Run, stage: int, tmp_path: Path
) -> None:
    straight, again = ranks(restored, stage, "bfloat16", str(tmp_path))[0]
    assert again == straight


def saved_weights(stage: int, dtype: str, folder: str) -> dict[str, Any]:
    """Save after an update; the weights as they are then, as lists."""
    from learner import zero_engine

    trained = engine(stage, dtype)
    update(trained, FEW)
    trained.save(Path(folder))
    weights = {}
    for name, parameter in trained.module.named_parameters():
        with zero_engine.gathered([parameter]) if stage == 3 else nullcontext():
            weights[name] = parameter.detach().float().numpy().copy()
    return weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_one_process_reads_the_weights_that_the_ranks_have_saved(
    ranks: Run, stage: int, dtype: str, tmp_path: Path
) -> None:
    import torch

    from learner.saving import offline_export

    weights = ranks(saved_weights, stage, dtype, str(tmp_path))[0]

    merged = offline_export._merged(tmp_path, stage)
    read = {
        name: merged[name].detach().to(getattr(torch, dtype)).float().numpy() for name in weights
    }
    assert all(np.array_equal(read[name], array) for name, array in weights.items())


def three_norms(
    stage: int, dtype: str, checkpointing: bool, learner: dict[str, Any]
) -> list[float]:
    trained = engine(stage, dtype, checkpointing=checkpointing, **learner)
    norms = []
    for _ in range(3):
        look(trained)
        norms.append(update(trained, FEW))
    return norms


def test_stage_3_in_bfloat16_with_checkpointed_layers_is_the_same_learner(ranks: Run) -> None:
    plain = ranks(three_norms, 3, "bfloat16", False, {})
    checkpointed = ranks(three_norms, 3, "bfloat16", True, {})
    float32 = ranks(three_norms, 2, "float32", False, {})

    assert checkpointed == plain
    assert checkpointed[0] == pytest.approx(float32[0], rel=0.01)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_an_optimizer_in_the_hosts_memory_takes_the_same_steps(ranks: Run, stage: int) -> None:
    # where there is no GPU, `learner.offload_optimizer` has nothing to move
    away = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}

    offloaded = ranks(three_norms, stage, "bfloat16", False, {"deepspeed": away})

    # the last bit of a float32 sum may round a weight to the next bfloat16
    kept = ranks(three_norms, stage, "bfloat16", False, {})
    assert offloaded[0] == pytest.approx(kept[0], rel=1e-3)
