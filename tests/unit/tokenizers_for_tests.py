"""Four families of tokenizer, made here in milliseconds, behind the project's `Tokenizer` port.

Each has tokens that straddle line ends, so that a boundary or a mask that looks at lines only
is found out; each decodes to exactly the text that it encoded.
"""

from __future__ import annotations

from functools import cache

from tokenizers import Regex, Tokenizer as Backend, decoders, models, pre_tokenizers, trainers

from stepcoder_dist.text.tokenization import FolderTokenizer

EOS = "<|end|>"
TURNS = ["<|user|>", "<|assistant|>"]

CORPUS = [
    "n = int(input())\nif n % 2 == 0:\n    n = n + 3\nelse:\n    n = n - 4\nprint(n)\n",
    "def f(x):\n    for i in range(x):\n        if i > 2:\n            x += i\n    return x\n",
    "while True:\n    if x:\n        break\n    x = call(\n        1,\n        2,\n    )\n",
    "try:\n    t = '''a\nb'''\nfinally:\n    # note\n    t = 1\n\n\n",
    "if a:\r\n    b = 1\r\nelse:\r\n    b = 2\r\n",
    "def g():\n\tif x:\n\t\treturn 1\n\treturn 2\n",
    "```python\nx = 1\n```\n",
] * 3


def made(backend: Backend) -> FolderTokenizer:
    """The backend behind the project's port, special tokens by name."""
    backend.add_special_tokens([EOS, *TURNS])
    return FolderTokenizer(backend, (backend.token_to_id(EOS),))


def byte_level_bpe() -> FolderTokenizer:
    """As GPT-2 and Qwen, but merges run over everything: one token can be `\\n    if`."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return made(backend)


def metaspace_bpe() -> FolderTokenizer:
    """As SentencePiece with byte fallback: spaces are `▁`, an unknown character is its bytes."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        special_tokens=[EOS, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return made(backend)


def word_pieces() -> FolderTokenizer:
    """As WordPiece, greedy longest match, with words that run over line ends and indents."""
    characters = [chr(code) for code in range(32, 127)] + list("\t\n\r\f\u2028éλ变量😀ßö\u00a0")
    words = ["if", "else", "print", "return", "range", "def", "for", "while", "input", "call"]
    spaces = ["\n    ", "\n        ", "\r\n", "\r\n    ", "    ", "\n\n", "\n\t", "'''", "```"]
    pieces = [EOS, "[UNK]", *characters, *(f"##{c}" for c in characters), *words, *spaces]
    pieces += [f"##{s}" for s in spaces]
    backend = Backend(
        models.WordPiece(
            {piece: i for i, piece in enumerate(pieces)},
            unk_token="[UNK]",
            max_input_chars_per_word=100_000,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w]+"), "isolated")
    backend.decoder = decoders.Sequence(
        [decoders.Replace(Regex("^##(?=.|\\s)"), ""), decoders.Fuse()]
    )
    return made(backend)


def unigram() -> FolderTokenizer:
    """As SentencePiece's unigram model: the likeliest cut, which a later word can change."""
    words = ["if", "else", "print", "(n)", "\nif", "\n▁▁▁▁", "▁▁▁▁", ":\n", ")\n", "▁=▁", "▁n"]
    pieces = [(EOS, 0.0), ("<unk>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    pieces += [(chr(code), -8.0) for code in range(33, 127)]
    pieces += [("▁", -8.0), ("\n", -8.0), *((word, -9.0) for word in words)]
    backend = Backend(models.Unigram(pieces, unk_id=1, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made(backend)


FAMILIES = {
    "byte-level BPE": byte_level_bpe,
    "metaspace BPE": metaspace_bpe,
    "unigram": unigram,
    "word pieces": word_pieces,
}


@cache
def tokenizer(family: str) -> FolderTokenizer:
    """One of `FAMILIES`, made once."""
    return FAMILIES[family]()
