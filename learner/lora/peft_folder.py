"""An adapter as a folder that peft loads: `adapter_config.json`, `adapter_model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from learner.lora.adapter import adapters
from stepcoder_dist.config import LoraConfig

FOLDER = "adapter"
"""Its name within a Hugging Face folder of merged weights."""
_PREFIX = "base_model.model."


def parameters(causal_lm: nn.Module) -> dict[str, nn.Parameter]:
    """Return the adapters' parameters under peft's names."""
    return {
        f"{_PREFIX}{name}.{part}.weight": parameter
        for name, layer in adapters(causal_lm).items()
        for part, parameter in (("lora_A", layer.lora_a), ("lora_B", layer.lora_b))
    }


def write(folder: Path, state: Mapping[str, Tensor], lora: LoraConfig, base: str) -> None:
    """Write complete parameters, on the CPU; `base` is the model that they were trained on."""
    folder.mkdir()
    save_file(
        {name: t.contiguous() for name, t in state.items()}, folder / "adapter_model.safetensors"
    )
    layers = {name.removeprefix(_PREFIX).rsplit(".", 2)[0] for name in state}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": sorted(layers),
        "bias": "none",
        "inference_mode": True,
    }
    text = json.dumps(config, indent=1) + "\n"
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
