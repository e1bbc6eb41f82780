"""A tokenizer is copied file by file, and the copy reads a program as the source does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tokenizers import (
    Regex,
    Tokenizer as Backend,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers_for_tests import CORPUS, byte_level_bpe

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.text import tokenizer_files
from stepcoder_dist.text.tokenization import load_tokenizer

BOS, EOS = "<s>", "</s>"
PROGRAM = "def f(x):\n    return x + 10\n"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def deepseek() -> Backend:
    """Byte-level, its pre-tokenizer a sequence of splits; its config names LlamaTokenizerFast."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\r\n]"), "isolated"),
            pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained(backend, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return backend


def llama2() -> Backend:
    """SentencePiece with `add_dummy_prefix`: a blank is put ahead of every text."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    blanks = decoders.Replace("▁", " ")
    fused = decoders.Fuse()
    stripped = decoders.Strip(" ", 1, 0)
    backend.decoder = decoders.Sequence([blanks, decoders.ByteFallback(), fused, stripped])
    trained(backend, trainers.BpeTrainer(vocab_size=560, special_tokens=["<unk>", *BYTES]))
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, backend.token_to_id(BOS))]
    )
    return backend


def metaspace() -> Backend:
    """Metaspace that puts a blank ahead of the first word."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    backend.decoder = decoders.Sequence(
        [decoders.Metaspace(prepend_scheme="first"), decoders.ByteFallback(), decoders.Fuse()]
    )
    trained(backend, trainers.BpeTrainer(vocab_size=560, special_tokens=["<unk>", *BYTES]))
    return backend


def qwen() -> Backend:
    backend: Backend = byte_level_bpe().backend
    backend.add_special_tokens([BOS, EOS])
    return backend


def trained(backend: Backend, trainer: Any) -> None:
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([BOS, EOS])


SHAPES = {
    "DeepSeek": (deepseek, {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True}),
    "Llama 2": (llama2, {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    "Metaspace": (metaspace, {"tokenizer_class": "LlamaTokenizerFast"}),
    "Qwen": (qwen, {"tokenizer_class": "Qwen2Tokenizer"}),
}


@pytest.fixture(params=SHAPES)
def hub_name(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A model of a hub, as it lies in the hub's cache of this machine."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    make, config = SHAPES[request.param]
    model = tmp_path / "hub" / "models--someone--coder"
    folder = model / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    backend = make()
    backend.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": BOS, "eos_token": EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokens, **config}))
    ids = {"eos_token_id": backend.token_to_id(EOS), "bos_token_id": backend.token_to_id(BOS)}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **ids}))
    return "someone/coder"


def trained_model(folder: Path, hub_name: str) -> Path:
    """A folder as saving the trained model leaves it, without a tokenizer."""
    folder.mkdir()
    eos_ids = sorted(load_tokenizer(hub_name).eos_ids)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": eos_ids}))
    return folder


def test_the_copy_of_a_hub_models_tokenizer_is_byte_for_byte_and_reads_alike(
    hub_name: str, tmp_path: Path
) -> None:
    tokenizer_files.check(hub_name)
    folder = trained_model(tmp_path / "trained", hub_name)
    tokenizer_files.copy(hub_name, folder)
    (snapshot,) = (tmp_path / "hub" / "models--someone--coder" / "snapshots").iterdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (snapshot / name).read_bytes()
    before, after = load_tokenizer(hub_name), load_tokenizer(folder)
    assert after.encode(PROGRAM)[0].tolist() == before.encode(PROGRAM)[0].tolist()
    assert (after.bos_ids, after.eos_ids) == (before.bos_ids, before.eos_ids)
    assert after.decode(after.encode(PROGRAM)[0]).strip(" ") == PROGRAM


def test_a_bos_that_the_config_asks_for_survives_the_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    backend = deepseek()
    backend.save(str(source / "tokenizer.json"))
    asked = {"add_bos_token": True, "bos_token": BOS, "eos_token": EOS}
    (source / "tokenizer_config.json").write_text(json.dumps(asked))
    (source / "config.json").write_text("{}")
    folder = trained_model(tmp_path / "trained", str(source))
    tokenizer_files.copy(str(source), folder)
    assert load_tokenizer(folder).bos_ids == (backend.token_to_id(BOS),)


def test_a_copy_that_reads_otherwise_is_refused_with_what_differs(
    hub_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as if the model kept what its tokenizer needs in a file that is not copied
    monkeypatch.setattr(tokenizer_files, "FILES", ("tokenizer.json",))
    monkeypatch.setattr(tokenizer_files, "_OF_THE_MODEL", ("config.json",))
    folder = trained_model(tmp_path / "trained", hub_name)
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    with pytest.raises(ConfigError, match=r"someone/coder cannot be copied.*end-of-sequence ids"):
        tokenizer_files.copy(hub_name, folder)
