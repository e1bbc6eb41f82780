"""A checkpoint's tokenizer, without transformers: text → ids with the span of every token.

Reads `tokenizer.json` through the `tokenizers` library, the same core that vLLM and transformers
run, so ids agree; spans come out exact for every family (byte-level, SentencePiece, WordPiece).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Backend

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_source
from stepcoder_dist.host.files.json_file import read_object
from stepcoder_dist.records import Int32Array
from stepcoder_dist.text import chat_template

_MAP = "special_tokens_map.json"
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    _MAP,
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
)


_IN_FRONT = "\n.=)0aé"
"""Characters behind which a part of a text is encoded; one is enough that joins no token of it."""


def _puts_blank(part: Any) -> bool:
    """Return whether a part of a tokenizer.json puts a blank in front of a text."""
    if isinstance(part, list):
        return any(map(_puts_blank, part))
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    if kind == "Metaspace":
        return bool(part.get("prepend_scheme", "always") != "never")
    return (
        kind == "Prepend"
        or (kind == "ByteLevel" and bool(part.get("add_prefix_space")))
        or any(_puts_blank(part.get(key)) for key in _PARTS)
    )


_PARTS = ("normalizer", "pre_tokenizer", "normalizers", "pretokenizers")


class FolderTokenizer:
    """`ports.Tokenizer` over one `tokenizer.json`."""

    def __init__(
        self, backend: Any, eos_ids: tuple[int, ...], bos_ids: tuple[int, ...] = ()
    ) -> None:
        self.backend = backend
        """The `tokenizers.Tokenizer`, for a `DecodeStream` over the same vocabulary."""
        self._eos_ids = eos_ids
        self._bos_ids = bos_ids
        self._puts_blank = _puts_blank(json.loads(backend.to_str()))
        special = [t.content for t in backend.get_added_tokens_decoder().values() if t.special]
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len)[::-1])))

    @property
    def eos_ids(self) -> frozenset[int]:
        return frozenset(self._eos_ids)

    @property
    def eos_id(self) -> int:
        return self._eos_ids[0]

    @property
    def bos_ids(self) -> tuple[int, ...]:
        return self._bos_ids

    def encode(
        self,
        text: str,
        literal: Sequence[tuple[int, int]] = (),
        apart: Sequence[int] = (),
    ) -> tuple[Int32Array, Int32Array]:
        """Return ids int32 [n] and their half-open char spans int32 [n, 2] in `text`.

        No special token is added, and none is read in the half-open ranges `literal`: text that
        looks like one there is encoded in two parts. No token straddles an offset of `apart`.
        Byte tokens of one character share its span. A token that represents no character
        (SentencePiece's first blank) shares the next token's.
        """
        inside = {cut for cut in (*self._cuts(text, literal), *apart) if 0 < cut < len(text)}
        cuts = [0, *sorted(inside), len(text)]
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for start, end in pairwise(cuts):
            encoded, offsets = self._part(text[start:end], first=start == 0)
            ids += encoded
            spans += [(start + a, start + b) for a, b in offsets] if start else offsets
        return np.array(ids, dtype=np.int32), np.array(spans, dtype=np.int32).reshape(-1, 2)

    def _part(self, text: str, *, first: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Encode a part of a text.

        Where the tokenizer puts a blank in front of every text, a part that is not the first is
        encoded behind another character, whose tokens are left out: there the blank belongs.
        """
        if self._puts_blank and not first:
            for character in _IN_FRONT:
                encoding = self.backend.encode(character + text, add_special_tokens=False)
                pairs = [
                    (i, a, b) for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True)
                ]
                if all(b <= 1 or a >= 1 for _, a, b in pairs):
                    rest = [(i, (a - 1, b - 1)) for i, a, b in pairs if b > 1]
                    return [i for i, _ in rest], [span for _, span in rest]
        encoding = self.backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def _cuts(self, text: str, literal: Sequence[tuple[int, int]]) -> list[int]:
        """Return where to split what looks like a special token: after its first character."""
        if not self._special.pattern:
            return []
        return sorted(
            {found.start() + 1 for a, b in literal for found in self._special.finditer(text, a, b)}
        )

    def decode(self, ids: Int32Array) -> str:
        """Return the text of the ids, special tokens included."""
        return str(self.backend.decode(ids.tolist(), skip_special_tokens=False))


def load_tokenizer(path: str | Path) -> FolderTokenizer:
    """Load the tokenizer of a checkpoint folder, or of a hub name where no such folder exists.

    Raises `ConfigError` where the folder or its tokenizer.json is missing or broken, or nothing
    names an end-of-sequence token.
    """
    folder = tokenizer_folder(path)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(
            f"{folder}: holds no tokenizer.json; save the checkpoint's fast tokenizer there "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(...)), or fix "
            "model.path (or --model)"
        )
    content = read_object(file)
    # padding and truncation belong to the batch, not to the text
    content.update(padding=None, truncation=None)
    try:
        backend = Backend.from_str(json.dumps(content))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise ConfigError(f"{file}: not a tokenizer: {error}; restore the file") from None
    eos_ids = _eos_ids(folder, backend)
    if not eos_ids:
        raise ConfigError(
            f"{folder}: nothing names an end-of-sequence token; set eos_token_id in "
            "generation_config.json or eos_token in tokenizer_config.json"
        )
    bos_ids = _bos_ids(folder, backend)
    # a byte-level post-processor would cut the blanks out of the spans
    backend.post_processor = None
    return FolderTokenizer(backend, eos_ids, bos_ids)


def tokenizer_folder(checkpoint: str | Path) -> Path:
    """Return the folder with a checkpoint's tokenizer files; for a hub name, the hub's copy.

    Raises `ConfigError` where there is none.
    """
    return model_source.find(checkpoint).files(_FILES)


def _bos_ids(folder: Path, backend: Any) -> tuple[int, ...]:
    """Return the ids that the model's own tokenizer puts before every text, as Llama's does.

    The post-processor adds them, unless `add_bos_token` says otherwise, as in transformers.
    """
    file = folder / "tokenizer_config.json"
    config = read_object(file)
    if config.get("add_bos_token") is False:
        return ()
    encoding = backend.encode("a")
    text_at = encoding.special_tokens_mask.index(0) if 0 in encoding.special_tokens_mask else 0
    if not text_at and config.get("add_bos_token"):
        token = config.get("bos_token") or read_object(folder / _MAP).get("bos_token")
        text = token.get("content") if isinstance(token, dict) else token
        number = backend.token_to_id(text) if isinstance(text, str) else None
        return () if number is None else (number,)
    return tuple(encoding.ids[:text_at])


def _eos_ids(folder: Path, backend: Any) -> tuple[int, ...]:
    """Return the union over the files that may name one: chat models end a turn with another.

    The tokenizer's own comes first: it is the one that ends an answer in training data.
    """
    found: dict[int, None] = {}
    for name in ("tokenizer_config.json", _MAP, "generation_config.json", "config.json"):
        content = read_object(folder / name)
        token = content.get("eos_token")
        text = token.get("content") if isinstance(token, dict) else token
        number = backend.token_to_id(text) if isinstance(text, str) else None
        ids = content.get("eos_token_id")
        candidates = [number, *(ids if isinstance(ids, list) else [ids])]
        found.update(dict.fromkeys(i for i in candidates if isinstance(i, int)))
    # last: what ends a turn in the chat template, which the files need not name (Gemma's)
    ids = backend.encode(chat_template.end_of_answer(folder), add_special_tokens=False).ids
    added = backend.get_added_tokens_decoder()
    found.update(dict.fromkeys(i for i in ids[:1] if i in added and added[i].special))
    return tuple(found)
