"""DeepSpeed's configuration of one engine, made from the run file and the module.

`learner.deepspeed` is merged over ours. `stepcoder_dist/config/learner.py` refuses the keys that
the learner depends on; what the installed DeepSpeed does not know is refused here.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from stepcoder_dist.config import LearnerConfig, ModelConfig
from stepcoder_dist.errors import ConfigError, last_line

LARGEST_BUCKET = 200_000_000
"""Elements: 800 MB in float32, enough for the speed of any network."""


def engine_config(module: nn.Module, learner: LearnerConfig, model: ModelConfig) -> dict[str, Any]:
    """Return what `deepspeed.initialize` takes. Bucket sizes follow the module.

    DeepSpeed's own sizes suit billions of parameters. Raises `ConfigError` for a key or a value of
    `learner.deepspeed` that the installed DeepSpeed does not take. Call it after `join`.
    """
    ours = {
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
    if not learner.deepspeed:
        return ours
    merged = _merged(ours, learner.deepspeed)
    _check(merged, learner.deepspeed)
    return merged


def splitting_config(learner: LearnerConfig, model: ModelConfig) -> dict[str, Any]:
    """Return what decides how a parameter is divided over the ranks, at stage 3."""
    ours = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3},
        "bf16": {"enabled": model.dtype == "bfloat16"},
    }
    return _merged(ours, learner.deepspeed)


def zero_stage(learner: LearnerConfig, model: ModelConfig) -> int:
    """Return the stage that DeepSpeed is given: at least 1 in bfloat16.

    Without ZeRO it can sum bfloat16 gradients in bfloat16 only, and starts Adam with an empty step,
    which makes the first updates too small by a quarter.
    """
    return max(learner.zero_stage, 1) if model.dtype == "bfloat16" else learner.zero_stage


def on_gpu() -> bool:
    """Return whether the ranks compute on GPUs."""
    return os.environ.get("DS_ACCELERATOR") != "cpu" and torch.cuda.is_available()


def _zero(module: nn.Module, learner: LearnerConfig, model: ModelConfig) -> dict[str, Any]:
    elements = [getattr(p, "ds_numel", p.numel()) for p in module.parameters()]
    trained = [getattr(p, "ds_numel", p.numel()) for p in module.parameters() if p.requires_grad]
    # what frozen weights have is never reduced; a network for inference has nothing else
    bucket = _bucket(sum(trained or elements))
    stage = zero_stage(learner, model)
    zero: dict[str, Any] = {
        "stage": stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if not on_gpu():
        zero["overlap_comm"] = False  # it needs CUDA streams
    elif stage < 3:  # noqa: PLR2004 (on by default at stage 3)
        zero["overlap_comm"] = True
    if stage == 3:  # noqa: PLR2004
        # small tensors (norms, biases) stay complete on every rank, in any size of model
        zero["stage3_param_persistence_threshold"] = min(100_000, max(elements) // 16)
        zero["stage3_prefetch_bucket_size"] = min(_bucket(sum(elements)), 50_000_000)
    if learner.offload_optimizer and on_gpu() and stage > 0:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    return zero


def _bucket(elements: int) -> int:
    """Round up to a multiple of what any number of ranks aligns to."""
    return -(-min(elements, LARGEST_BUCKET) // 8192) * 8192


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables key by key; of two other values take the second."""
    result = dict(ours)
    for key, value in theirs.items():
        mine = result.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(mine, value) if both else value  # type: ignore[arg-type]
    return result


def _check(config: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Have DeepSpeed read the configuration; refuse what it does not know or never asked for."""
    deepspeed = importlib.import_module("deepspeed")
    noted = _Noted(config)
    try:
        deepspeed.DeepSpeedConfig(noted)
    except ValidationError as error:
        first = error.errors()[0]
        place = tuple(str(part) for part in first["loc"])
        path = next((p for p in _paths(given) if p[-len(place) :] == place), place)
        if first["type"] == "extra_forbidden":
            raise _unknown(path, deepspeed.__version__) from None
        raise ConfigError(
            f"learner.deepspeed.{'.'.join(path)} = {first['input']!r}: {first['msg']}"
        ) from None
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"learner.deepspeed: {last_line(error)}") from None
    for path, others in noted.unread():
        raise _unknown(path, deepspeed.__version__, others)


def _unknown(path: tuple[str, ...], version: str, others: Iterable[str] = ()) -> ConfigError:
    near = difflib.get_close_matches(path[-1], list(others), 1)
    hint = f"; did you mean {near[0]}?" if near else "; leave it out"
    return ConfigError(
        f"learner.deepspeed.{'.'.join(path)}: DeepSpeed {version} has no such key{hint}"
    )


def _paths(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, key))


class _Noted(dict[str, Any]):
    """A table that notes which keys are read: DeepSpeed passes over what it does not know."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        super().__init__({k: _Noted(v) if isinstance(v, Mapping) else v for k, v in tree.items()})
        self.read: set[str] = set()

    def unread(self, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
        """Yield each key that nobody asked for, with those that somebody did."""
        for key, value in super().items():
            if key not in self.read:
                yield (*above, key), self.read
            elif isinstance(value, _Noted) and value.read:  # else pydantic has checked it
                yield from value.unread((*above, key))

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        # overridden, so that f(**table) reads through __getitem__
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def items(self) -> Any:
        self.read |= set(super().keys())
        return super().items()

    def __copy__(self) -> _Noted:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Noted:
        return self
