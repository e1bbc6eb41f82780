"""Tokenizers: the ladder's own, and any checkpoint's behind the port."""

from __future__ import annotations

import json
import unicodedata
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tokenizers import (
    Tokenizer as Backend,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.decoders import DecodeStream

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.problems import ladder
from stepcoder_dist.records import Problem
from stepcoder_dist.text.tokenization import FolderTokenizer, load_tokenizer

PROGRAM = "n=int(input())\nif n%2==0:\n    n+=12\nprint(n)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ladder-tokenizer")
    ladder.write_tokenizer(out)
    return out


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> FolderTokenizer:
    return load_tokenizer(folder)


def pieces(tokenizer: FolderTokenizer, text: str) -> list[str]:
    return [text[a:b] for a, b in tokenizer.encode(text)[1]]


def written(problem: Problem) -> str:
    return f"{problem.statement}\n```python\n{problem.reference}```\n"


# --- the ladder's tokenizer ----------------------------------------------------------------


def test_a_word_an_operator_a_digit_a_line_end_and_an_indent_are_one_token_each(
    tokenizer: FolderTokenizer,
):
    assert pieces(tokenizer, PROGRAM) == [
        *("n", "=int", "(input", "())\n"),
        *("if", " n", "%", "2", "==", "0", ":\n"),
        *("   ", " n", "+=", "1", "2", "\n"),
        *("print", "(n", ")\n"),
    ]
    assert pieces(tokenizer, "if n is even multiply by 20 .\n```python\n") == [
        *("if", " n", " is", " even", " multiply", " by", " ", "2", "0", " ."),
        *("\n", "```", "python", "\n"),
    ]


def test_the_vocabulary_is_small_and_the_files_are_the_same_every_time(
    tmp_path: Path, folder: Path
):
    size = ladder.write_tokenizer(tmp_path)
    assert size == len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    assert size < 400
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(ladder.SPLITS)), st.integers(0, 10**6))
def test_no_text_of_the_ladder_falls_back_to_bytes(
    tokenizer: FolderTokenizer, split: str, seed: int
):
    for problem in ladder.problems(split, seed=seed, count=5):
        text = written(problem)
        ids, spans = tokenizer.encode(text)
        single = {text[a:b] for (a, b), i in zip(spans, ids, strict=True) if 2 <= i < 258}
        assert single <= set("\n n%<>(0123456789")
        assert tokenizer.decode(ids) == text
        assert len(ids) < 200


ANYTHING = (st.text() | st.text("\n \r\tn=+0189if:#é😀`", max_size=60)).map(
    lambda text: unicodedata.normalize("NFC", text)  # as Qwen2 does before it cuts
)


@given(ANYTHING)
def test_any_text_comes_back_and_its_spans_tile_it(tokenizer: FolderTokenizer, text: str):
    ids, spans = tokenizer.encode(text)
    assert ids.dtype == spans.dtype == np.int32
    assert spans.shape == (len(ids), 2)
    assert tokenizer.decode(ids) == text
    assert "".join(text[a:b] for a, b in sorted({(int(a), int(b)) for a, b in spans})) == text


@given(st.integers(0, 10**6), st.integers(0, 200))
def test_decoding_token_by_token_gives_the_text(tokenizer: FolderTokenizer, seed: int, cut: int):
    head = written(ladder.problems("train", seed=seed, count=1)[0])
    text = head + "é😀 ```"
    ids = tokenizer.encode(text)[0].tolist()
    cut = min(cut, len(tokenizer.encode(head)[0]))
    stream = DecodeStream(ids=ids[:cut], skip_special_tokens=False)
    rest = "".join(stream.step(tokenizer.backend, i) or "" for i in ids[cut:])
    assert tokenizer.decode(np.array(ids[:cut], dtype=np.int32)) + rest == text


def test_transformers_loads_the_folder_and_gives_the_same_ids(
    folder: Path, tokenizer: FolderTokenizer
):
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(str(folder))
    text = written(ladder.problems("train", count=1)[0]) + "é\t  x"
    assert loaded.encode(text, add_special_tokens=False) == tokenizer.encode(text)[0].tolist()
    assert loaded.decode(loaded.encode(text)) == text
    assert (loaded.eos_token, loaded.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert (loaded.eos_token_id, loaded.pad_token_id) == (0, 1)
    assert len(loaded) == len(tokenizer.backend.get_vocab())


def test_the_ids_stay_the_same_once_a_qwen2_checkpoint_carries_the_tokenizer(
    tokenizer: FolderTokenizer, tmp_path: Path
):
    transformers = pytest.importorskip("transformers")
    ladder.write_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "eos_token_id": 0}')
    text = written(ladder.problems("train", count=1)[0]) + "é\t  x 12"
    ids = tokenizer.encode(text)[0].tolist()
    # transformers rebuilds a Qwen2 folder's tokenizer by Qwen2's rules, and saves that
    for _ in range(2):
        again = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
        assert again.encode(text, add_special_tokens=False) == ids
        assert load_tokenizer(tmp_path).encode(text)[0].tolist() == ids
        assert load_tokenizer(tmp_path).eos_ids == {0}
        again.save_pretrained(str(tmp_path))


# --- other families ------------------------------------------------------------------------

SPECIAL = ["<s>", "</s>"]


def save(backend: Backend, out: Path) -> FolderTokenizer:
    backend.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    return load_tokenizer(out)


def trimming_byte_level(out: Path) -> FolderTokenizer:
    """As GPT-2's and RoBERTa's: the post-processor cuts blanks out of the spans."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [PROGRAM],
        trainers.BpeTrainer(
            vocab_size=290, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    backend.enable_padding(length=64)
    backend.enable_truncation(8)
    return save(backend, out)


def sentence_piece(out: Path) -> FolderTokenizer:
    """As Llama's: blanks become ▁, one is put in front, bytes stand in for what is unknown."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    byte_tokens = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=[*SPECIAL, "<unk>", *byte_tokens], show_progress=False
    )
    backend.train_from_iterator([PROGRAM], trainer)
    content = json.loads(backend.to_str())
    special = [t for t in content["added_tokens"] if not t["content"].startswith("<0x")]
    content["added_tokens"] = special
    return save(Backend.from_str(json.dumps(content)), out)


@pytest.mark.parametrize("make", [trimming_byte_level, sentence_piece])
def test_spans_of_other_families_cover_the_text_in_order(make: Any, tmp_path: Path):
    loaded = make(tmp_path)
    text = "if n:\n    n += 12  # é😀\n\n\n\tx\n"
    ids, spans = loaded.encode(text)
    assert spans.tolist() == sorted(spans.tolist())
    assert {place for a, b in spans for place in range(a, b)} == set(range(len(text)))
    assert all(b > a for a, b in spans)
    assert loaded.decode(ids) == text
    assert loaded.eos_ids == {1}


def test_no_text_encodes_to_no_tokens(tokenizer: FolderTokenizer):
    ids, spans = tokenizer.encode("")
    assert ids.shape == (0,)
    assert spans.shape == (0, 2)


# --- end-of-sequence tokens and errors -------------------------------------------------------


def test_the_tokens_that_end_an_answer_are_the_union_over_the_files(folder: Path, tmp_path: Path):
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    config = {"eos_token": {"content": "<|pad|>", "lstrip": False}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).eos_ids == {1}
    (tmp_path / "config.json").write_text('{"eos_token_id": 7}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 9]}')
    assert load_tokenizer(tmp_path).eos_ids == {0, 1, 7, 9}


def test_a_tokenizer_without_an_end_is_refused(folder: Path, tmp_path: Path):
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: nothing names an end-of-sequence token; set eos_token_id in "
        "generation_config.json or eos_token in tokenizer_config.json"
    )


def test_a_missing_checkpoint_folder_says_how_to_make_it(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(tmp_path / "runs" / "demo" / "sft")
    assert str(caught.value) == (
        f"{tmp_path}/runs/demo/sft: no model there (no such folder); run `stepcoder sft RUN.toml` "
        "first, or fix model.path (or --model)"
    )


def test_a_folder_without_a_tokenizer_file_says_so(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"holds no tokenizer\.json; save the checkpoint's fast"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {"type": "nope"}}'])
def test_a_broken_tokenizer_file_is_told_in_one_line(tmp_path: Path, content: str):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match="restore the file") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_a_special_token_in_the_text_is_that_token(tokenizer: FolderTokenizer, before: str):
    ids, spans = tokenizer.encode(before + "<|endoftext|>")
    assert ids[-1] == 0
    assert tuple(spans[-1]) == (len(before), len(before) + 13)


# --- what begins a text, and text that looks like a special token ------------------------------


def with_template(out: Path, config: str) -> FolderTokenizer:
    """As Llama's: the post-processor puts <s> ahead of a text."""
    backend = trimming_byte_level(out).backend
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    backend.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(config)
    return load_tokenizer(out)


@pytest.mark.parametrize(
    ("config", "bos_ids"),
    [
        ('{"eos_token": "</s>"}', (0,)),
        ('{"eos_token": "</s>", "add_bos_token": true}', (0,)),
        ('{"eos_token": "</s>", "add_bos_token": false}', ()),
    ],
)
def test_a_text_begins_with_what_the_checkpoints_own_tokenizer_puts_ahead_of_it(
    tmp_path: Path, config: str, bos_ids: tuple[int, ...]
):
    loaded = with_template(tmp_path, config)
    assert loaded.bos_ids == bos_ids
    assert 0 not in loaded.encode(PROGRAM)[0]  # the prompt's writer adds it, once


def test_add_bos_token_stands_for_a_post_processor_that_is_not_there(tmp_path: Path):
    trimming_byte_level(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    assert load_tokenizer(tmp_path).bos_ids == ()
    config.write_text('{"eos_token": "</s>", "add_bos_token": true, "bos_token": "<s>"}')
    assert load_tokenizer(tmp_path).bos_ids == (0,)
    config.write_text('{"eos_token": "</s>", "add_bos_token": true}')
    assert load_tokenizer(tmp_path).bos_ids == ()
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": {"content": "<s>"}}')
    assert load_tokenizer(tmp_path).bos_ids == (0,)


def metaspace(out: Path, scheme: str) -> FolderTokenizer:
    """As newer SentencePiece tokenizers: the blank in front is the pre-tokenizer's."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    byte_tokens = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=[*SPECIAL, "<unk>", *byte_tokens], show_progress=False
    )
    backend.train_from_iterator([PROGRAM], trainer)
    content = json.loads(backend.to_str())
    special = [t for t in content["added_tokens"] if not t["content"].startswith("<0x")]
    content["added_tokens"] = special
    return save(Backend.from_str(json.dumps(content)), out)


PREFIXED = {
    "Prepend": sentence_piece,
    "Metaspace, first": partial(metaspace, scheme="first"),
    "Metaspace, always": partial(metaspace, scheme="always"),
    "byte level": trimming_byte_level,
}


@pytest.mark.parametrize("family", PREFIXED)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(
    parts=st.lists(
        st.sampled_from(["</s>", "<s>", "<unk>", " ", "\n", "n", "é", "    n", "=12", ")"]),
        min_size=1,
        max_size=8,
    )
)
def test_text_that_looks_like_special_tokens_decodes_to_itself_in_every_family(
    tmp_path: Path, family: str, parts: list[str]
):
    path = tmp_path / "tokenizer.json"
    loaded = load_tokenizer(tmp_path) if path.exists() else PREFIXED[family](tmp_path)
    text = "x" + "".join(parts)  # of a blank at the very beginning Metaspace makes nothing
    ids, spans = loaded.encode(text, [(0, len(text))])
    assert loaded.decode(ids) == text
    assert not {0, 1} & set(ids.tolist())
    assert {place for a, b in spans for place in range(a, b)} == set(range(len(text)))
    middle = len(text) // 2
    ids, spans = loaded.encode(text, [(0, len(text))], [middle])
    assert loaded.decode(ids) == text
    assert all(b <= middle or a >= middle for a, b in spans)


@pytest.mark.parametrize("make", [trimming_byte_level, sentence_piece])
def test_in_a_literal_range_nothing_is_a_special_token(make: Any, tmp_path: Path):
    loaded = make(tmp_path)
    text = "<s>é </s></s> x<s>"
    ids, spans = loaded.encode(text, [(3, 15)])
    assert [int(i) for i in ids if i < len(SPECIAL)] == [0, 0]
    assert spans[-1].tolist() == [15, 18]
    assert {place for a, b in spans for place in range(a, b)} == set(range(len(text)))
    assert spans.tolist() == sorted(spans.tolist())
