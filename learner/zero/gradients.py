"""The gradients of one update, before the optimizer has them: their norm, and how they are dropped.

    engine                          its own norm                  dropped by
    stage 0 in float32              torch's                       `zero_grad`
    stages 0 and 1 in bfloat16      of `get_grads_for_norm`       a step that sees a norm of NaN
    1 in float32, and 2             `scaled_global_norm`          the same
    3                               of `_get_norm_groups`         the same

DeepSpeed leaves out the update of a step whose norm is not finite, and empties its buffers, at
every stage; weights, moments and Adam's count stay as they are. With two networks that comes too
late: the first has moved when the second is found to be bad. So both norms are asked for before
either moves, and an update is dropped by the way that DeepSpeed has for it.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch

_NORM_FROM = {
    "BF16_Optimizer": "get_grads_for_norm",
    "DeepSpeedZeroOptimizer": "scaled_global_norm",
    "DeepSpeedZeroOptimizer_Stage3": "_get_norm_groups",
}
"""The method that a step takes its norm from, by the class of DeepSpeed's optimizer."""


def norm(engine: Any, *, plain: bool) -> float:
    """Return the norm over all ranks before clipping; NaN or infinite if a gradient is.

    A collective, after the last backward pass of an update and before its step. `plain`: the
    optimizer is torch's own.
    """
    if plain:
        grads = [p.grad for p in engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(grads))
    utils = importlib.import_module("deepspeed.runtime.utils")
    kind = type(engine.optimizer).__name__
    found = getattr(engine.optimizer, _NORM_FROM[kind])()
    if kind == "BF16_Optimizer":
        found = utils.get_global_norm_of_tensors(input_tensors=found[0])
    elif kind == "DeepSpeedZeroOptimizer_Stage3":
        found = utils.combine_grad_norm_groups(found)
    value = float(found)
    return value if value >= 0 else math.nan  # DeepSpeed's sign for a norm that is not finite


def drop(engine: Any, *, plain: bool) -> None:
    """Forget the gradients of an update; everything else is as before it. A collective."""
    if plain:
        engine.zero_grad()
        return
    name = _NORM_FROM[type(engine.optimizer).__name__]
    nan = torch.tensor(math.nan, device=engine.device)
    answer: Any = {"get_grads_for_norm": ([nan], {}), "_get_norm_groups": [nan]}.get(name, nan)
    # instead of the method of its class
    setattr(engine.optimizer, name, lambda *_, **__: answer)
    try:
        engine.step()
    finally:
        delattr(engine.optimizer, name)
