"""What DeepSpeed is told, and what a run file may say over it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from learner.zero import deepspeed_config
from learner.zero.deepspeed_config import engine_config
from stepcoder_dist.config import LearnerConfig, ModelConfig
from stepcoder_dist.errors import ConfigError

pytest.importorskip("deepspeed")


def told(monkeypatch: pytest.MonkeyPatch, *, gpu: bool = False, **learner: Any) -> dict[str, Any]:
    monkeypatch.setattr(deepspeed_config, "on_gpu", lambda: gpu)
    return engine_config(
        torch.nn.Linear(64, 64), LearnerConfig(**learner), ModelConfig(path="m", dtype="bfloat16")
    )


@pytest.mark.parametrize(
    ("stage", "gpu", "overlap"),
    [
        (1, True, True),
        (2, True, True),
        (3, True, None),  # DeepSpeed's own default: on
        (1, False, False),
        (2, False, False),
        (3, False, False),
    ],
)
def test_communication_overlaps_with_the_backward_pass_on_gpus(
    monkeypatch: pytest.MonkeyPatch, *, stage: int, gpu: bool, overlap: bool | None
) -> None:
    zero = told(monkeypatch, gpu=gpu, zero_stage=stage)["zero_optimization"]
    assert zero.get("overlap_comm") is overlap


def test_all_that_deepspeed_is_told_of_a_small_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, zero_stage=2) == {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_optimization": {
            "stage": 2,
            "reduce_bucket_size": 8192,
            "allgather_bucket_size": 8192,
            "overlap_comm": False,
        },
        "bf16": {"enabled": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**12,
    }


def test_a_run_files_keys_are_merged_over_ours_table_by_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "communication_data_type": "bf16",
        "zero_optimization": {"overlap_comm": True, "offload_optimizer": {"device": "cpu"}},
    }
    plain = told(monkeypatch, zero_stage=2)
    assert told(monkeypatch, zero_stage=2, deepspeed=given) == plain | {
        "communication_data_type": "bf16",
        "zero_optimization": plain["zero_optimization"] | given["zero_optimization"],
    }


NO_SUCH_KEY = "DeepSpeed 0.19.8 has no such key"
ZERO = "zero_optimization"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"wall_clock_breakdwn": True},
            f"wall_clock_breakdwn: {NO_SUCH_KEY}; did you mean wall_clock_breakdown?",
        ),
        (
            {ZERO: {"overlap_com": True}},
            f"zero_optimization.overlap_com: {NO_SUCH_KEY}; leave it out",
        ),
        (
            {ZERO: {"offload_optimizer": {"device": "cpu", "pin": True}}},
            f"zero_optimization.offload_optimizer.pin: {NO_SUCH_KEY}; leave it out",
        ),
        (
            {"data_types": {"grad_acum_dtype": "fp32"}},
            f"data_types.grad_acum_dtype: {NO_SUCH_KEY}; did you mean grad_accum_dtype?",
        ),
        (
            {ZERO: {"sub_group_size": -1}},
            "zero_optimization.sub_group_size = -1: Input should be greater than or equal to 0",
        ),
    ],
)
def test_what_the_installed_deepspeed_does_not_take_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        told(monkeypatch, deepspeed=given)
    assert str(refused.value) == f"learner.deepspeed.{message}"


def test_a_value_that_deepspeed_asserts_about_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match=r"^learner\.deepspeed: .*communication_data_type.*fp64"):
        told(monkeypatch, deepspeed={"communication_data_type": "fp64"})
