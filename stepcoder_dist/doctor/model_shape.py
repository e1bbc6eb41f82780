"""The dimensions of a model, found without loading it: in its config.json or the run file.

A checkpoint that is on this machine has a config.json. For one that is not (a hub name that was
never downloaded) `[model.shape]` of the run file has the dimensions. Without that the size is
unknown: nothing is guessed from a name.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_dist.config import ModelConfig, ModelShape, RunConfig, TinyModel
from stepcoder_dist.host import model_source

GATED_DECODERS = frozenset({"llama", "mistral", "qwen2"})
"""`model_type`s whose parameters `parameters` counts exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownShape:
    """A model's dimensions and their source."""

    shape: ModelShape
    source: str
    """The source as text: `config.json of …`, `[model.shape]`, `[model.tiny]`."""
    warning: str = ""
    """Not empty where the run file says something else than the checkpoint."""


def find(model: ModelConfig, folders: tuple[str, ...] = ()) -> KnownShape | None:
    """Return the dimensions of `model`, or None where nothing on this machine has them.

    `folders`: checkpoint folders to look into first, for example the SFT checkpoint's.
    """
    if model.tiny is not None:
        return KnownShape(shape=of_tiny(model.tiny), source="[model.tiny]")
    for folder in filter(None, (*folders, model.path)):
        config = config_json(folder)
        shape = None if config is None else of_config(config)
        if shape is not None:
            differs = model.shape is not None and _sizes(shape) != _sizes(model.shape)
            return KnownShape(
                shape=shape,
                source=f"config.json of {folder}",
                warning="[model.shape] of the run file says otherwise; fix it" if differs else "",
            )
    if model.shape is not None:
        return KnownShape(shape=model.shape, source="[model.shape]; config.json is not here")
    return None


def config_json(path_or_name: str) -> dict[str, Any] | None:
    """Return the config.json of a folder, or of a hub name in this machine's Hugging Face cache."""
    source = model_source.find(path_or_name)
    if source.folder is not None:
        candidates = [source.folder / "config.json"]
    else:
        snapshots = _hub_cache() / f"models--{source.text.replace('/', '--')}" / "snapshots"
        candidates = sorted(snapshots.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    for file in reversed(candidates):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict):
            return content
    return None


def of_config(config: dict[str, Any]) -> ModelShape | None:
    """Return the shape in a config.json; None for a model of another architecture."""
    if config.get("model_type") not in GATED_DECODERS or config.get("attention_bias"):
        return None
    try:
        heads = int(config["num_attention_heads"])
        return ModelShape(
            hidden_size=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            intermediate_size=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            head_size=config.get("head_dim"),
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
            attention_bias=config["model_type"] == "qwen2",
        )
    except (KeyError, TypeError, ValueError):
        return None


def of_tiny(tiny: TinyModel) -> ModelShape:
    """Return the shape of the ladder's model, which `learner/tiny_model.py` makes."""
    from stepcoder_dist.problems import ladder

    with tempfile.TemporaryDirectory() as folder:
        vocabulary = ladder.write_tokenizer(Path(folder))
    return ModelShape(
        hidden_size=tiny.hidden_size,
        layers=tiny.layers,
        heads=tiny.heads,
        kv_heads=tiny.kv_heads,
        intermediate_size=tiny.intermediate_size,
        vocabulary=vocabulary,
        tied_embeddings=True,
        attention_bias=True,
    )


def query_size(shape: ModelShape) -> int:
    """Return the width of a layer's queries."""
    return shape.heads * (shape.head_size or shape.hidden_size // shape.heads)


def key_size(shape: ModelShape) -> int:
    """Return the width of a layer's keys, and of its values."""
    return shape.kv_heads * (shape.head_size or shape.hidden_size // shape.heads)


def backbone_parameters(shape: ModelShape) -> int:
    """Return the parameters of all but the output layer: embedding, layers, last norm."""
    hidden, query, key = shape.hidden_size, query_size(shape), key_size(shape)
    attention = hidden * (query + 2 * key) + query * hidden
    if shape.attention_bias:
        attention += query + 2 * key
    layer = attention + 3 * hidden * shape.intermediate_size + 2 * hidden
    return shape.vocabulary * hidden + shape.layers * layer + hidden


def parameters(shape: ModelShape) -> int:
    """Return the parameters of the causal language model."""
    head = 0 if shape.tied_embeddings else shape.vocabulary * shape.hidden_size
    return backbone_parameters(shape) + head


def critic_parameters(shape: ModelShape) -> int:
    """Return the parameters of the backbone and a value head (`learner/policy_critic.py`)."""
    return backbone_parameters(shape) + shape.hidden_size + 1


def _sizes(shape: ModelShape) -> tuple[int, int, int, int, int]:
    """Return the sizes that memory depends on, however the shape was written."""
    return (parameters(shape), shape.layers, shape.hidden_size, query_size(shape), key_size(shape))


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def bytes_each(config: RunConfig) -> int:
    """Return the bytes of a parameter on the device."""
    return 2 if config.model.dtype == "bfloat16" else 4
