"""The place of every sampled token in the completion's text.

The text is what a `DecodeStream` that has read the prompt prints while it is fed the sampled
ids one by one: the same text that vLLM streams. Decoding token by token in isolation would
break characters whose bytes are split over tokens and lose SentencePiece's spaces; encoding the
text again would give other tokens than those that were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from stepcoder_dist.records import Int32Array

_INVALID_PREFIX = "Invalid prefix encountered"
"""How `tokenizers` says that earlier text changed when a token was added."""


def decode_with_spans(
    tokenizer: Tokenizer, prompt_ids: Sequence[int], token_ids: Sequence[int]
) -> tuple[str, Int32Array]:
    """Return the text of `token_ids` after `prompt_ids` and int32 [T, 2] half-open char spans.

    Every character belongs to exactly one span value: a token that prints nothing (the first
    bytes of a split character) shares the span of the next text that is printed. Tokens at the
    end that never print anything have the empty span at the end of the text.
    """
    stream = DecodeStream(ids=list(prompt_ids), skip_special_tokens=False)
    spans = np.zeros((len(token_ids), 2), dtype=np.int32)
    pieces: list[str] = []
    printed = 0
    silent_from = 0
    for index, token_id in enumerate(token_ids):
        try:
            piece = stream.step(tokenizer, int(token_id))
        except Exception as error:
            # `tokenizers` raises bare Exceptions, and only its text identifies this one.
            # A byte sequence that is no UTF-8 can change the text before it; start afresh, as
            # vLLM does.
            if not str(error).startswith(_INVALID_PREFIX):
                raise
            stream = DecodeStream(skip_special_tokens=False)
            piece = stream.step(tokenizer, int(token_id))
        if piece:
            spans[silent_from : index + 1] = printed, printed + len(piece)
            pieces.append(piece)
            printed += len(piece)
            silent_from = index + 1
    spans[silent_from:] = printed
    return "".join(pieces), spans
