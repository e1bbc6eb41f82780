"""The tokenizer of the ladder: a Qwen2 tokenizer with a vocabulary of its own.

    "if" " n" "%" "2" "==" "0" ":\\n" "   " " n" "+=" "1" "2" "\\n"

Byte-level BPE over Qwen2's own cutting rule, so that every loader that knows Qwen2 checkpoints
rebuilds exactly this tokenizer (transformers ignores any other rule in a Qwen2 folder). The
merges are made here, by plain BPE over the texts of the language. Every piece of a ladder text is
one token; other text falls back to pieces and bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from stepcoder_dist.problems.ladder.language import (
    INDENT,
    Action,
    Condition,
    If,
    Repeat,
    Step,
    Task,
    While,
)
from stepcoder_dist.problems.ladder.slips import single_slips

END, PAD = "<|endoftext|>", "<|pad|>"

QWEN2_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's cutting rule. A digit is always alone: numbers are read and copied by digits."""

MOST_INDENTS = 3

_AS_IT_IS = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
_SPLIT = {
    "type": "Split",
    "pattern": {"Regex": QWEN2_PIECES},
    "behavior": "Isolated",
    "invert": False,
}

Merge = tuple[str, str]


def write(folder: Path) -> int:
    """Write tokenizer.json and tokenizer_config.json; return the size of the vocabulary."""
    byte_names, pieces = _pieces()
    merges = byte_pair_merges(pieces)
    names = [END, PAD, *byte_names, *(left + right for left, right in merges)]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(text, vocabulary[text]) for text in (END, PAD)],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [_SPLIT, {"type": "ByteLevel", **_AS_IT_IS}],
        },
        "post_processor": {"type": "ByteLevel", **_AS_IT_IS},
        "decoder": {"type": "ByteLevel", **_AS_IT_IS},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(merge) for merge in merges],
        },
    }
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        (folder / name).write_text(text, encoding="utf-8")
    return len(vocabulary)


def byte_pair_merges(pieces: set[str]) -> list[Merge]:
    """Return the merges that make each piece one token, by frequency, then by name."""
    words = [list(piece) for piece in sorted(pieces)]
    merges: list[Merge] = []
    while any(len(word) > 1 for word in words):
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        words = [_merged(word, best) for word in words]
    return merges


def _merged(word: list[str], merge: Merge) -> list[str]:
    out: list[str] = []
    for symbol in word:
        if out and (out[-1], symbol) == merge:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def _special(text: str, number: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, **flags, "special": True}


def _pieces() -> tuple[list[str], set[str]]:
    """Return the names of the 256 bytes, and every piece of the language's texts, byte by byte."""
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(QWEN2_PIECES), "isolated")
    by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut = pre_tokenizers.Sequence([split, by_bytes])
    pieces = {piece for text in _everything() for piece, _ in cut.pre_tokenize_str(text)}
    return sorted(pre_tokenizers.ByteLevel.alphabet()), pieces


def _everything() -> list[str]:
    """Return texts that hold every piece of the language at least once."""
    add, subtract, multiply = (Action(verb, 2) for verb in ("add", "subtract", "multiply by"))
    conditions = [Condition(test, 3) for test in ("even", "odd", "above", "below", "divisible")]
    steps: list[Step] = [
        *(If(condition, add, subtract) for condition in conditions),
        *(If(one, If(other, multiply)) for one, other in pairwise(conditions)),
        Repeat(3, If(conditions[0], multiply)),
        While(conditions[2], subtract),
    ]
    tasks = [Task(tuple(steps), by_call=by_call) for by_call in (False, True)]
    tasks += [slip for task in tasks for slip in single_slips(task)]
    indents = [f"\n{INDENT * depth}n" for depth in range(MOST_INDENTS + 1)]
    fences = [f"{task.english}\n```python\n{task.python}```\n" for task in tasks]
    # a template may leave a blank line where a problem has no starter code
    return [*fences, *indents, "n\n\n```python\n"]
