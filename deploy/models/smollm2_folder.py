"""SmolLM2 from GGUF: `model.safetensors` and `tokenizer.json` as the Hugging Face hub has them."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import gguf_file
import numpy as np
import numpy.typing as npt

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
_CONTROL = 3
"""GGUF's type of a special token."""


def write(gguf: gguf_file.GgufFile, folder: Path) -> float:
    """Write both files; return by how much the weights were rounded for GGUF.

    That is the expected root mean square of the rounding errors, over that of the weights.
    """
    (folder / "tokenizer.json").write_bytes(tokenizer_json(gguf.metadata))
    weights, rounding, size = {}, 0.0, 0.0
    for name, tensor in gguf.tensors.items():
        ours = hub_name(name)
        values = _unpermuted(tensor.weights(), ours, gguf.metadata)
        rounding += tensor.squared_rounding
        size += float((values.astype(np.float64) ** 2).sum())
        weights[ours] = bfloat16(values)
    write_safetensors(weights, folder / "model.safetensors")
    return math.sqrt(rounding / size)


def hub_name(name: str) -> str:
    """Return transformers' name of a Llama's tensor."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if found is None or found[2] not in _LAYER:
        raise gguf_file.GgufError(f"tensor {name} is none of a Llama with tied embeddings")
    return f"model.layers.{found[1]}.{_LAYER[found[2]]}.weight"


def _unpermuted(
    values: gguf_file.Float32, name: str, metadata: dict[str, Any]
) -> gguf_file.Float32:
    """Put the rows of a query or key in transformers' order of rotary pairs.

    GGUF has the two rows of a pair next to each other, transformers has all first ones of a head
    before all second ones.
    """
    count = {"q_proj": "head_count", "k_proj": "head_count_kv"}.get(name.split(".")[-2])
    if count is None:
        return values
    heads = metadata[f"llama.attention.{count}"]
    pairs = values.reshape(heads, -1, 2, values.shape[1])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def bfloat16(values: gguf_file.Float32) -> npt.NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16, to even where two are equally near."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(weights: dict[str, npt.NDArray[np.uint16]], file: Path) -> None:
    """Write bfloat16 tensors, by name. https://huggingface.co/docs/safetensors, "Format"."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in sorted(weights):
        end = at + weights[name].nbytes
        header[name] = {
            "dtype": "BF16",
            "shape": weights[name].shape,
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(weights):
            stream.write(np.ascontiguousarray(weights[name]).data)


def tokenizer_json(metadata: dict[str, Any]) -> bytes:
    """Return the tokenizer: digits one by one, GPT-2's byte-level BPE, the special tokens.

    Raises `GgufError` for a tokenizer of another kind.
    """
    kind = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != ("gpt2", "smollm"):
        raise gguf_file.GgufError(
            f"the tokenizer is of the kind {kind}; SmolLM's is ('gpt2', 'smollm')"
        )
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"]
    rest = {"trim_offsets": True, "use_regex": True}
    tree = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, (token, each) in enumerate(zip(tokens, types, strict=True))
            if each == _CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, **rest},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, **rest},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }
    return json.dumps(tree, ensure_ascii=False, indent=2).encode()
