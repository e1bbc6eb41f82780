"""Spans of sampled tokens in the completion's text, on tokenizers of three families."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from actors.char_spans import decode_with_spans

TEXTS = [
    "def f(x):\n    return x + 1\n",
    "print('naïve café', \"日本語\", '👩‍👩‍👧')\n",
    "if n % 2 == 0:\n\tn = n // 2\nelse:\n\tn = 3 * n + 1\n",
]


def byte_level() -> Tokenizer:
    """Bytes are the alphabet, so a character of several bytes is several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS[:1], trainer)
    return tokenizer


def sentence_piece() -> Tokenizer:
    """Spaces are ▁, unknown characters fall back to bytes, as Llama's tokenizer does."""
    vocabulary = {"<unk>": 0, "<end>": 1}
    vocabulary |= {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    pieces = ["▁", *sorted({c for c in TEXTS[0] if c.isascii() and c.isprintable() and c != " "})]
    vocabulary |= {piece: len(vocabulary) + i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def metaspace() -> Tokenizer:
    """▁ marks the beginning of a word; a text's very first space is not printed."""
    tokenizer = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("▁if", -1.0), ("x", -1.0)], 0)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def word_level() -> Tokenizer:
    words = ["<unk>", "if", " ", "x", ":", "\n", "    ", "日本"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


FAMILIES = {
    "byte_level": byte_level(),
    "sentence_piece": sentence_piece(),
    "metaspace": metaspace(),
    "word_level": word_level(),
}


def check(text: str, spans: Sequence[Sequence[int]], tokens: int) -> None:
    """Spans in order, each span's text printed once, and nothing of the text left out."""
    assert len(spans) == tokens
    printed, last = "", None
    for start, end in spans:
        assert 0 <= start <= end <= len(text)
        if (start, end) == last:
            continue
        assert start == len(printed), "spans leave no gap and do not overlap"
        printed += text[start:end]
        last = (start, end)
    assert printed == text


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_sampled_the_spans_tile_the_text_in_order(
    family: str, data: st.DataObject
) -> None:
    tokenizer = FAMILIES[family]
    ids = st.integers(0, tokenizer.get_vocab_size() - 1)
    prompt = data.draw(st.lists(ids, max_size=8))
    sampled = data.draw(st.lists(ids, max_size=24))

    text, spans = decode_with_spans(tokenizer, prompt, sampled)

    assert spans.dtype.name == "int32"
    check(text, spans.tolist(), len(sampled))


@pytest.mark.parametrize("family", ["byte_level", "sentence_piece"])
@given(text=st.text(max_size=20), prompt=st.sampled_from(["", "x = ", "日"]))
@settings(max_examples=150, deadline=None)
def test_sampling_the_tokens_of_a_text_prints_that_text(
    family: str, text: str, prompt: str
) -> None:
    tokenizer = FAMILIES[family]
    sampled = tokenizer.encode(text).ids

    printed, spans = decode_with_spans(tokenizer, tokenizer.encode(prompt).ids, sampled)

    assert printed == text
    check(printed, spans.tolist(), len(sampled))


def test_the_bytes_of_one_character_share_its_span() -> None:
    tokenizer = FAMILIES["byte_level"]
    ids = tokenizer.encode("a日b").ids
    assert len(ids) == 5, "日 is three bytes, each a token"

    text, spans = decode_with_spans(tokenizer, [], ids)

    assert text == "a日b"
    assert spans.tolist() == [[0, 1], [1, 2], [1, 2], [1, 2], [2, 3]]


def test_a_character_that_the_length_limit_cuts_is_not_printed() -> None:
    tokenizer = FAMILIES["byte_level"]
    ids = tokenizer.encode("a日").ids[:-1]

    text, spans = decode_with_spans(tokenizer, [], ids)

    assert text == "a"
    assert spans.tolist() == [[0, 1], [1, 1], [1, 1]]


def test_a_character_that_began_in_the_prompt_is_finished_by_the_completion() -> None:
    tokenizer = FAMILIES["byte_level"]
    first, *rest = tokenizer.encode("日").ids

    text, spans = decode_with_spans(tokenizer, [first], rest)

    assert text.endswith("日")
    check(text, spans.tolist(), 2)


def test_a_word_after_the_prompt_keeps_its_space() -> None:
    tokenizer = FAMILIES["metaspace"]
    word = tokenizer.token_to_id("▁if")
    x = tokenizer.token_to_id("x")

    assert decode_with_spans(tokenizer, [x], [word])[0] == " if"
    assert decode_with_spans(tokenizer, [], [word])[0] == "if", "the text's very first space"


def test_bytes_that_are_no_text_print_replacement_characters_and_lose_no_token() -> None:
    tokenizer = FAMILIES["byte_level"]
    lone = tokenizer.encode("日").ids[1]  # a continuation byte without its first byte
    a = tokenizer.encode("a").ids[0]

    text, spans = decode_with_spans(tokenizer, [a], [lone, lone, a])

    assert text == "��a"
    assert spans.tolist() == [[0, 3], [0, 3], [0, 3]]


def test_special_tokens_in_the_middle_are_printed() -> None:
    tokenizer = FAMILIES["byte_level"]
    end = tokenizer.token_to_id("<end>")
    a = tokenizer.encode("a").ids[0]

    text, spans = decode_with_spans(tokenizer, [], [a, end, a])

    assert text == "a<end>a"
    assert spans.tolist() == [[0, 1], [1, 6], [6, 7]]


def test_no_tokens_are_no_text() -> None:
    text, spans = decode_with_spans(FAMILIES["byte_level"], [1, 2], [])
    assert text == ""
    assert spans.shape == (0, 2)
