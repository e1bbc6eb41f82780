"""DeepSpeed's configuration of one engine, made from the run file and the module."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from stepcoder_dist.config import LearnerConfig, ModelConfig

LARGEST_BUCKET = 500_000_000
"""Elements."""


def engine_config(module: nn.Module, learner: LearnerConfig, model: ModelConfig) -> dict[str, Any]:
    """Return what `deepspeed.initialize` takes. Bucket sizes follow the module.

    DeepSpeed's own sizes suit billions of parameters.
    """
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": learner.max_grad_norm,
        "zero_optimization": _zero(module, learner, model),
        "bf16": {"enabled": model.dtype == "bfloat16"},
        # a bfloat16 sum of many micro-batches, or of many ranks, loses what is small
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**12,
    }


def zero_stage(learner: LearnerConfig, model: ModelConfig) -> int:
    """Return the stage that DeepSpeed is given: at least 1 in bfloat16.

    Without ZeRO it can sum bfloat16 gradients in bfloat16 only, and starts Adam with an empty step,
    which makes the first updates too small by a quarter.
    """
    return max(learner.zero_stage, 1) if model.dtype == "bfloat16" else learner.zero_stage


def on_gpu() -> bool:
    """Whether the ranks compute on GPUs."""
    return os.environ.get("DS_ACCELERATOR") != "cpu" and torch.cuda.is_available()


def _zero(module: nn.Module, learner: LearnerConfig, model: ModelConfig) -> dict[str, Any]:
    elements = [getattr(p, "ds_numel", p.numel()) for p in module.parameters()]
    # whole multiples of what any number of ranks aligns to
    bucket = -(-min(sum(elements), LARGEST_BUCKET) // 8192) * 8192
    stage = zero_stage(learner, model)
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": False,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if stage == 3:  # noqa: PLR2004
        # small tensors (norms, biases) stay whole on every rank, in any size of model
        zero["stage3_param_persistence_threshold"] = min(100_000, max(elements) // 16)
        zero["stage3_prefetch_bucket_size"] = min(bucket, 50_000_000)
    if learner.offload_optimizer and on_gpu() and stage > 0:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    return zero
