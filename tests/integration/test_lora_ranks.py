"""Adapters on two gloo ranks: every ZeRO stage, both dtypes, what is pushed, saved and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gloo_ranks import Run, gloo_ranks
from learner_batches import VOCABULARY, run_config, trajectories
from test_zero_engine import finish, take

pytest.importorskip("deepspeed")

pytestmark = [pytest.mark.deepspeed]


@pytest.fixture(scope="module")
def ranks() -> Iterator[Run]:
    with gloo_ranks(2) as run:
        yield run


def sections(folder: str, stage: int, dtype: str) -> tuple[Any, Any]:
    from stepcoder_dist.config import LearnerConfig, LoraConfig, ModelConfig

    lora = LoraConfig(rank=4, alpha=8)
    return LearnerConfig(ranks=2, zero_stage=stage, lora=lora), ModelConfig(
        path=folder, dtype=dtype
    )


def engine(folder: str, stage: int, dtype: str) -> Any:
    from learner import policy_critic
    from learner.zero.zero_engine import ZeroEngine

    learner, model = sections(folder, stage, dtype)
    policy = policy_critic.load_policy(folder, model, lora=learner.lora)
    return ZeroEngine(policy, learner, model, weight_decay=0.0)


def said(network: Any) -> Any:
    """The network's log-probs of a sample."""
    import torch

    from learner.batches import batching
    from stepcoder_dist.records import SftExample

    ids = np.arange(5, 17, dtype=np.int32)
    micro = batching.pack((0,), [SftExample(prompt_ids=ids[:4], completion_ids=ids[4:])], 0)
    with torch.no_grad():
        return network(**micro.policy_inputs())[0].float()


def update(trained: Any) -> float:
    """One update on two samples of each rank; the gradients' norm."""
    import torch

    from learner.batches import batching
    from stepcoder_dist.records import SftExample

    ids = np.random.default_rng(0).integers(0, VOCABULARY, (4, 12)).astype(np.int32)
    samples = [SftExample(prompt_ids=row[:5], completion_ids=row[5:]) for row in ids]
    mine = range(torch.distributed.get_rank(), 4, 2)
    for index in mine:
        logprobs, _ = trained(**batching.pack((index,), samples, 0).policy_inputs())
        trained.backward(-logprobs.sum() / 100, last=index == mine[-1])
    return float(trained.step(1e-2))


def pushed(trained: Any) -> dict[str, Any]:
    from learner.push.weight_buckets import plan_buckets, whole_tensors

    plan = plan_buckets(trained.module.causal_lm, 2**16)
    return {name: tensor.clone() for name, tensor in whole_tensors(plan)}


def life(folder: str, stage: int, dtype: str, out: str) -> dict[str, Any]:
    """Train, save, train, go back, train again; what this rank found."""
    import torch

    from learner.zero.zero_engine import WithoutAdapters

    trained = engine(folder, stage, dtype)
    loaded, weights = said(trained), pushed(trained)
    norms = [update(trained)]
    part = take(trained, out)
    saved = pushed(trained)
    norms += [update(trained), update(trained)]
    finish(part)
    again = engine(folder, stage, dtype)
    again.load(Path(out) / "policy")
    back = pushed(again)
    changed = [name for name in weights if not torch.equal(weights[name], saved[name])]
    return {
        "norms": norms,
        "again": [update(again), update(again)],
        "moved": bool((said(trained) - loaded).abs().max() > 0.01),
        "reference is the base": torch.equal(said(WithoutAdapters(trained)), loaded),
        "resumed": all(torch.equal(back[name], tensor) for name, tensor in saved.items()),
        "changed": changed,
        "pushed": {name: tensor.float().numpy() for name, tensor in saved.items()},
    }


@pytest.mark.parametrize(
    ("stage", "dtype"),
    [
        (0, "float32"),
        (1, "bfloat16"),
        (2, "float32"),
        (3, "bfloat16"),
        *(
            pytest.param(*each, marks=pytest.mark.long)
            for each in [(0, "bfloat16"), (1, "float32"), (2, "bfloat16"), (3, "float32")]
        ),
    ],
)
def test_adapters_train_resume_bitwise_and_are_exported_as_they_were_pushed(
    ranks: Run, tiny_checkpoint: Path, stage: int, dtype: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from learner.saving import offline_export

    out = tmp_path / "step"
    found = ranks(life, str(tiny_checkpoint), stage, dtype, str(out))[0]

    assert found["again"] == found["norms"][1:]
    assert found["resumed"]
    assert found["moved"]
    assert found["reference is the base"]
    layers = {f"model.layers.{n}.{part}" for n in (0, 1) for part in ("self_attn", "mlp")}
    assert {name.rsplit(".", 2)[0] for name in found["changed"]} == layers
    assert all(name.endswith("_proj.weight") for name in found["changed"])
    config = run_config(
        learner={"zero_stage": stage, "lora": {"rank": 4, "alpha": 8.0}}, model={"dtype": dtype}
    )
    # `finish` describes the checkpoint of another config
    weights = {
        n.removeprefix("causal_lm."): t for n, t in offline_export._merged(out / "policy").items()
    }
    import torch

    # frozen weights are not in a checkpoint
    assert all(".lora_" in name for name in weights)
    rounded = {name: tensor.to(getattr(torch, dtype)) for name, tensor in weights.items()}
    offline_export._export_adapted(rounded, str(tiny_checkpoint), config, tmp_path / "hf")
    exported = load_file(tmp_path / "hf" / "model.safetensors")
    assert exported.keys() == found["pushed"].keys()
    for name, array in found["pushed"].items():
        np.testing.assert_allclose(exported[name].float().numpy(), array, rtol=1e-6, atol=0)
    assert (tmp_path / "hf" / "adapter" / "adapter_config.json").is_file()


def handed_over(folder: str, out: str) -> bool:
    """Save at stage 2, and load at stage 3: are the weights and the next update the same?"""
    import torch

    trained = engine(folder, 2, "float32")
    update(trained)
    finish(take(trained, out))
    other = engine(folder, 3, "float32")
    other.load(Path(out) / "policy")
    here, there = pushed(trained), pushed(other)
    same = all(torch.equal(there[name], tensor) for name, tensor in here.items())
    return same and update(other) == pytest.approx(update(trained), rel=1e-5)


def test_adapters_resume_at_another_stage(
    ranks: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    assert ranks(handed_over, str(tiny_checkpoint), str(tmp_path / "step")) == [True, True]


def accumulated(stage: int) -> dict[str, Any]:
    """Weights of one, in bfloat16, and updates that are each smaller than their last digit."""
    import torch

    from learner.lora.adapter import LoraLinear
    from learner.push.weight_buckets import plan_buckets, whole_tensors
    from learner.zero.zero_engine import ZeroEngine

    learner, model = sections("unused", stage, "bfloat16")
    linear = torch.nn.Linear(16, 8, bias=False, dtype=torch.bfloat16).requires_grad_(
        requires_grad=False
    )
    torch.nn.init.ones_(linear.weight)
    layer = LoraLinear(linear, learner.lora, seed=0)
    trained = ZeroEngine(torch.nn.Sequential(layer), learner, model, weight_decay=0.0)
    target = torch.linspace(-1, 1, 16, dtype=torch.bfloat16)[None]
    after, in_bfloat16 = [], torch.ones(8, 16, dtype=torch.bfloat16)
    for _ in range(20):
        before = layer.scale * layer.lora_b.detach() @ layer.lora_a.detach()
        trained.backward(-trained._engine(target).float().sum(), last=True)
        trained.step(1e-3)
        # what a learner would push that adds each step's change to rounded weights
        in_bfloat16 += layer.scale * layer.lora_b.detach() @ layer.lora_a.detach() - before
        ((_, weight),) = whole_tensors(plan_buckets(trained.module, 2**20))
        after.append(weight)
    factors = [t.detach().double() for t in (layer.lora_b, layer.lora_a)]
    exact = (1 + layer.scale * factors[0] @ factors[1]).to(torch.bfloat16)
    return {
        "first": int((after[0] != 1).sum()),
        "last": int((after[-1] != 1).sum()),
        "exact": torch.equal(after[-1], exact),
        "in bfloat16": int((in_bfloat16 != 1).sum()),
    }


def test_updates_below_a_weights_last_digit_add_up_and_are_pushed_rounded_once(
    ranks: Run,
) -> None:
    for found in ranks(accumulated, 2):
        assert found["first"] == 0
        assert found["last"] > 64
        assert found["exact"]
        assert found["in bfloat16"] < found["last"] / 2


def rank_of(worker: Any, folder: str, **learner: Any) -> Any:
    """A built rank of the learner or of the warm start, without Ray."""
    import torch

    config = run_config(learner={"ranks": 2, "lora": {"rank": 4, "alpha": 8.0}, **learner})
    rank = worker(config, folder, torch.distributed.get_rank(), 2)
    rank.build()
    return rank


def save(rank: Any, folder: str) -> None:
    """What the driver asks the ranks for."""
    import torch

    rank.take_checkpoint(folder, True)
    sums: list[Any] = [None, None]
    torch.distributed.all_gather_object(sums, rank.write_checkpoint(folder))
    if torch.distributed.get_rank() == 0:
        rank.finish_checkpoint(folder, sums)
    torch.distributed.barrier()


def ppo(folder: str, out: str, stage: int) -> dict[str, Any]:
    """Three steps with a critic, back to the checkpoint after the first, the same two again.

    At stage 3 layers are checkpointed.
    """
    from learner.worker import LearnerWorker

    def figures(seed: int) -> dict[str, float]:
        metrics = rank.step(trajectories(6, seed=seed)).metrics
        return {k: v for k, v in metrics.items() if k != "learner_tokens_per_s"}

    rank = rank_of(
        LearnerWorker, folder, zero_stage=stage, kl_beta=0.1, gradient_checkpointing=stage == 3
    )
    first = figures(1)
    save(rank, f"{out}/step")
    rank.save_hf(f"{out}/hf")
    saved = said(rank.policy).tolist()
    straight = [figures(2), figures(3)]
    rank.verify(f"{out}/step")
    rank.load(f"{out}/step")
    return {
        "first": first,
        "straight": straight,
        "again": [figures(2), figures(3)],
        "saved": saved,
        "trained": {name: trained_parts(engine) for name, engine in rank.engines().items()},
    }


def trained_parts(network: Any) -> set[str]:
    named = network.module.named_parameters()
    return {name.rpartition(".")[2] for name, p in named if p.requires_grad}


def test_a_learner_with_adapters_is_the_same_at_every_stage_and_resumes_and_exports(
    ranks: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    from learner import policy_critic
    from learner.saving import offline_export
    from stepcoder_dist.config import ModelConfig

    base = str(tiny_checkpoint)
    found = {stage: ranks(ppo, base, str(tmp_path / f"{stage}"), stage)[0] for stage in (0, 3)}

    for each in found.values():
        assert each["again"] == each["straight"]
        # the policy begins as the reference, and leaves it
        assert each["first"]["kl_reference"] == pytest.approx(0, abs=1e-7)
        assert abs(each["straight"][1]["kl_reference"]) > 1e-6
        assert each["trained"]["policy"] == {"lora_a", "lora_b"}
        # weight and bias of the value head
        assert each["trained"]["critic"] == {"lora_a", "lora_b", "weight", "bias"}
    for here, there in zip(found[0]["straight"], found[3]["straight"], strict=True):
        assert there == pytest.approx(here, rel=2e-3, abs=1e-4)

    written = str(tmp_path / "3" / "hf")
    plain = policy_critic.load_policy(written, ModelConfig(path=written, dtype="float32"))
    assert said(plain).tolist() == pytest.approx(found[3]["saved"], abs=1e-5)
    for stage in (0, 3):
        out = tmp_path / f"{stage}"
        config = run_config(
            learner={
                "ranks": 2,
                "zero_stage": stage,
                "kl_beta": 0.1,
                "lora": {"rank": 4, "alpha": 8.0},
            }
        )
        offline_export.export(out / "step", base, config, out / "export")
        for name in ("model.safetensors", "adapter/adapter_model.safetensors"):
            exported, by_ranks = load_file(out / "export" / name), load_file(out / "hf" / name)
            assert exported.keys() == by_ranks.keys()
            for key, tensor in exported.items():
                np.testing.assert_allclose(tensor, by_ranks[key], rtol=1e-6, atol=1e-9)


def warm_start(folder: str, out: str) -> tuple[list[float], float]:
    """The losses of supervised updates, and the held-out loss of what they gave."""
    from learner.warm_start.sft_plan import Phase
    from learner.warm_start.sft_worker import SftWorker
    from stepcoder_dist.records import SftExample
    from stepcoder_dist.sft.examples import SftExamples

    ids = np.random.default_rng(0).integers(0, VOCABULARY, (4, 12)).astype(np.int32)
    examples = tuple(SftExample(prompt_ids=row[:5], completion_ids=row[5:]) for row in ids)
    rank = rank_of(SftWorker, folder, zero_stage=2)
    rank.take(SftExamples(phases=(examples,), heldout=examples))
    phase = Phase(number=0, steps=6, warmup_steps=0, learning_rate=0.02, batch_samples=4, seed=0)
    steps = rank.steps(phase, 0, 6)
    rank.save_hf(out, {})
    return [step.loss for step in steps], rank.heldout_loss()


def test_a_warm_start_with_adapters_learns_and_writes_a_merged_folder(
    ranks: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    out = tmp_path / "sft"
    losses, after = ranks(warm_start, str(tiny_checkpoint), str(out))[0]

    assert after < losses[0] - 0.5
    merged = load_file(out / "model.safetensors")
    base = load_file(tiny_checkpoint / "model.safetensors")
    changed = {name.split(".")[-2] for name in base if not base[name].equal(merged[name])}
    attention, wide = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj")
    assert changed == {*attention, *wide, "down_proj"}
    assert merged.keys() == base.keys()
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
