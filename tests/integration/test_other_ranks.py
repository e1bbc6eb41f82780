"""A checkpoint that other ranks read than have written it: gloo ranks, without Ray.

What is compared is what DeepSpeed's own functions gather from the ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gloo_ranks import Run, gloo_ranks
from learner_batches import run_config
from test_zero_engine import examples, policy

pytest.importorskip("deepspeed")

pytestmark = [pytest.mark.deepspeed]

WRITERS = 2
SAMPLES = 6
"""Of one update, over all ranks: divisible by 1, 2 and 3."""


@pytest.fixture(scope="module")
def ranks() -> Iterator[dict[int, Run]]:
    """Three process groups, by their number of ranks; they start one after the other."""
    groups: dict[int, Run] = {}
    with ExitStack() as stack:
        for count in (1, WRITERS, 3):
            groups[count] = stack.enter_context(gloo_ranks(count))
            groups[count](started)
        yield groups


def started() -> bool:
    import deepspeed

    return bool(deepspeed.__version__)


def networks(stage: int, dtype: str) -> dict[str, Any]:
    """Policy and critic; the sizes of both are divisible by neither 2 nor 3."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    from learner import policy_critic
    from learner.zero.zero_engine import ZeroEngine
    from stepcoder_dist.config import LearnerConfig, ModelConfig

    torch.manual_seed(1)
    shape = LlamaConfig(
        vocab_size=509,
        hidden_size=20,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    critic = policy_critic.Critic(LlamaModel(shape), 20).to(getattr(torch, dtype))
    learner = LearnerConfig(ranks=torch.distributed.get_world_size(), zero_stage=stage)
    model = ModelConfig(path="unused", dtype=dtype)
    return {
        name: ZeroEngine(module, learner, model, weight_decay=0.01)
        for name, module in {"policy": policy(dtype), "critic": critic}.items()
    }


def update(engines: dict[str, Any], names: tuple[str, ...]) -> list[float]:
    """One update of each on the same samples, whoever computes them; the gradients' norms."""
    import torch

    from learner.batches import batching

    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    mine = range(rank, SAMPLES, size)
    norms = []
    for name in names:
        for index in mine:
            inputs = batching.pack((index,), examples(), 0).policy_inputs()
            if name == "critic":
                rows = {key: inputs[key] for key in ("input_ids", "rows", "predictors")}
                rows["input_ids"] = rows["input_ids"] % 509
                loss = (engines[name](**rows) - 1).square().sum() / 100
            else:
                loss = -engines[name](**inputs)[0].sum() / 100
            engines[name].backward(loss, last=index == mine[-1])
        norms.append(engines[name].step(1e-3))
    return norms


def gathered(engines: dict[str, Any]) -> dict[str, Any]:
    """Everything that an update changes, by name, as arrays and numbers."""
    from contextlib import nullcontext

    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    from learner.zero import zero_engine

    found: dict[str, Any] = {}
    for network, engine in engines.items():
        optimizer = engine._engine.optimizer
        states = list(optimizer.optimizer.state.values())
        found[f"{network} steps"] = sorted({int(state["step"]) for state in states})
        found[f"{network} counters"] = (engine._engine.global_steps, engine._engine.skipped_steps)
        split = hasattr(optimizer, "fp16_groups")
        if not split and states:
            optimizer._lazy_init_hp_params_optimizer_state()
        for name, parameter in engine.module.named_parameters():
            with zero_engine.gathered([parameter]) if split else nullcontext():
                weight = parameter.detach().float().numpy().copy()
            arrays = {"weight": weight, "master": safe_get_full_fp32_param(parameter).numpy()}
            if states:
                for key in ("exp_avg", "exp_avg_sq"):
                    arrays[key] = safe_get_full_optimizer_state(parameter, key).numpy()
            found |= {f"{network} {name} {key}": array for key, array in arrays.items()}
    return found


def save(engines: dict[str, Any], folder: str) -> None:
    import torch

    from learner.saving import checkpoint

    part = checkpoint.take(
        Path(folder), engines, version=7, counters={"skipped_steps": 2}, copied=True
    )
    sums = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(sums, part.write())
    if torch.distributed.get_rank() == 0:
        part.finish(run_config(), sums)  # type: ignore[arg-type]
    torch.distributed.barrier()


def trained(stage: int, dtype: str, names: tuple[str, ...], folder: str) -> tuple[Any, list[float]]:
    """Two updates and a checkpoint; what it holds, and the norms of the update after it."""
    engines = networks(stage, dtype)
    update(engines, names)
    update(engines, names)
    save(engines, folder)
    return gathered(engines), update(engines, ("policy", "critic"))


def resumed(stage: int, dtype: str, folder: str, again: str) -> tuple[Any, list[float], Any]:
    """The same after loading, with what the manifest says; saved again before the update."""
    from learner.saving import checkpoint

    engines = networks(stage, dtype)
    saved = checkpoint.load(Path(folder), engines)
    save(engines, again)
    read = (saved.version, saved.counters, saved.ranks)
    return gathered(engines), update(engines, ("policy", "critic")), read


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name in expected if not np.array_equal(found[name], expected[name])]


BOTH = ("policy", "critic")


@pytest.mark.parametrize(
    ("stage", "then", "dtype", "names"),
    [
        (1, 1, "float32", BOTH),
        (2, 2, "bfloat16", BOTH),
        (3, 3, "bfloat16", BOTH),
        (2, 3, "bfloat16", BOTH),
        (3, 1, "float32", ("critic",)),  # the policy has not been updated yet
    ],
)
def test_other_ranks_read_every_value_as_it_was_written(
    ranks: dict[int, Run], stage: int, then: int, dtype: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    expected, norms = ranks[WRITERS](trained, stage, dtype, names, f"{tmp_path}/0")[0]

    path, writers = f"{tmp_path}/0", WRITERS
    for hop, count in enumerate((1, 3, WRITERS), 1):
        target = f"{tmp_path}/{hop}"
        answers = ranks[count](resumed, then if hop < 3 else stage, dtype, path, target)
        for found, again, read in answers:
            assert differing(found, expected) == []
            assert again == pytest.approx(norms, rel=1e-3 if dtype == "float32" else 0.02)
            assert read == (7, {"skipped_steps": 2}, writers)
        path, writers = target, count


def test_a_shard_of_another_model_is_named(ranks: dict[int, Run], tmp_path: Path) -> None:
    ranks[WRITERS](trained, 2, "float32", BOTH, f"{tmp_path}/0")
    (tmp_path / "0" / "critic").rename(tmp_path / "0" / "policies")
    (tmp_path / "0" / "policy").rename(tmp_path / "0" / "critic")

    message = ranks[1](refused, f"{tmp_path}/0/critic")[0]

    assert "values of backbone.embed_tokens.weight (fp32) are there" in message


def refused(folder: str) -> str:
    from stepcoder_dist.errors import LearnerError

    with pytest.raises(LearnerError) as error:
        networks(2, "float32")["critic"].load(Path(folder))
    return str(error.value)
