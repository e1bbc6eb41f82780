"""A checkpoint's policy as a Hugging Face folder: ZeRO's shards merged by one process on a CPU.

No rank is started: an export needs memory for the policy in float32, and neither GPUs nor as many
ranks as wrote the checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from learner import policy_critic
from learner.lora import peft_folder
from learner.push import weight_buckets
from learner.saving import hf_folder, manifest
from learner.zero.zero_engine import CHECKPOINT_TAG
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import UserError

_PREFIX = "causal_lm."
"""The prefix of the policy's parameters in the trained module (`learner/policy_critic.py`)."""


def export(checkpoint: Path, base: str, config: RunConfig, out: Path) -> None:
    """Write the policy of a learner checkpoint to `out`; it appears complete or not at all.

    `base` is the model that the run started from: its config.json and its tokenizer go with the
    weights, and adapters are merged into its own. Raises `UserError` for a checkpoint that is
    damaged or of another run.
    """
    manifest.verify(checkpoint, config)
    dtype = getattr(torch, config.model.dtype)
    weights = {
        name.removeprefix(_PREFIX): tensor.to(dtype)
        for name, tensor in _merged(checkpoint / "policy").items()
    }
    if config.learner.lora is not None:
        _export_adapted(weights, base, config, out)
        return
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base), dtype=dtype)
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    hf_folder.save(model, {n: p.detach() for n, p in model.named_parameters()}, base, out)


def _export_adapted(weights: dict[str, Tensor], base: str, config: RunConfig, out: Path) -> None:
    """Put the adapters into the base model, and write it merged."""
    lora = config.learner.lora
    model = policy_critic.load_policy(base, config.model, lora=lora).causal_lm
    adapter = peft_folder.parameters(model)
    found = model.load_state_dict(weights, strict=False)
    if found.unexpected_keys or len(model.state_dict()) - len(found.missing_keys) < len(adapter):
        raise UserError(
            f"{base}: the checkpoint's adapters are not those of this model with learner.lora; "
            "give it back the model that the run started from"
        )
    state = {n.name: n.complete() for n in weight_buckets.named_parameters(model)}
    parts = {name: parameter.detach() for name, parameter in adapter.items()}
    hf_folder.save(model, state, base, out, lora=lora, adapter=parts)


def _merged(folder: Path) -> dict[str, Tensor]:
    """Return the module's trained parameters, complete: its own, or at stage 3 the ranks' masters.

    Below stage 3 rank 0 has written the module, each parameter rounded from its master.
    """
    file = folder / CHECKPOINT_TAG / "mp_rank_00_model_states.pt"
    if file.is_file():
        # our own file, checked against the manifest; DeepSpeed puts plain objects into it
        states: Any = torch.load(file, map_location="cpu", weights_only=False)
        module: dict[str, Tensor] = states["module"]
        return module
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    merged: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(
        str(folder), tag=CHECKPOINT_TAG
    )
    return merged
