"""Attention over a packed row: a completion attends to its prompt and to itself, and nothing else.

The row is cut into its prompts and completions (packing.py). Elsewhere than on a GPU in half
precision, each piece goes through torch's own kernel with the keys of its prompt before its own:
no product is formed that a mask of the row would throw away. A block-diagonal mask over a row of
2048 tokens made an update more than twice as slow on a CPU. On a GPU one call of the
variable-length flash kernel takes all pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from stepcoder_dist.errors import ConfigError

NAME = "stepcoder_packed"
Segments = tuple[tuple[int, ...], ...]
"""A row's groups: the tokens of the prompt, then of each completion; or of one piece alone."""
_ATTENTION = {"full_attention", "sliding_attention"}
"""Layers that keep pieces apart when their attention is cut; recurrent ones would carry state."""
_NOT_MADE = ("s_aux", "softcap", "position_bias", "indices", "block_indices")
"""What transformers calls sinks, a cap or a bias of scores, and keys chosen for each query."""


class _OtherAttentionError(Exception):
    """The model's attention has a part that is not made here."""


def install(model: Any, folder: str, *, key: str) -> None:
    """Let a Hugging Face model attend by `segments`.

    Raises `ConfigError` for one that cannot, which names the `key` to switch off.
    """
    others = set(getattr(model.config, "layer_types", None) or ()) - _ATTENTION
    if others:
        raise cannot_pack(folder, f"it has {', '.join(sorted(others))} layers", key)
    AttentionInterface.register(NAME, attend)
    try:
        model.set_attn_implementation(NAME)
    except ValueError as error:
        raise cannot_pack(folder, str(error).splitlines()[0], key) from None


def installed(model: Any) -> bool:
    """Return whether the model attends by `segments`, as `install` makes it."""
    return bool(model.config._attn_implementation == NAME)  # noqa: SLF001 (Hugging Face's)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments = (),
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend by segments: [1, heads, L, d] and [1, kv heads, L, d] -> [1, L, heads, d].

    `segments` add up to L; without them (rows that are not packed, [B, heads, L, d]) every row is
    one causal piece: a model that does not pass them on is refused by `check_apart`.
    `attention_mask` is None: packed rows have no padding. Raises `_OtherAttentionError`, which
    `check_apart` refuses the model for, where another argument would change the result.
    """
    for name in _NOT_MADE:
        if others.get(name) is not None:
            raise _OtherAttentionError(name)
    del module, attention_mask, others
    segments = segments or ((query.shape[2],),)
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and len(query) == 1:
        return _varlen(query, key, value, segments, scaling, sliding_window), None
    times = query.shape[1] // key.shape[1]
    if times > 1:  # once for the row, not for each piece
        key, value = (t.repeat_interleave(times, dim=1) for t in (key, value))
    lengths = [length for group in segments for length in group]
    # split, not slices: its backward pass is one concatenation, not a full row of zeros a piece
    pieces = zip(*(torch.split(t, lengths, dim=2) for t in (query, key, value)), strict=True)
    answers: list[Tensor] = []
    for group in segments:
        own_query, prompt_key, prompt_value = next(pieces)
        answers.append(_piece(own_query, prompt_key, prompt_value, scaling, sliding_window))
        for _ in group[1:]:
            own_query, own_key, own_value = next(pieces)
            keys = torch.cat([prompt_key, own_key], dim=2)
            values = torch.cat([prompt_value, own_value], dim=2)
            answers.append(_piece(own_query, keys, values, scaling, sliding_window))
    return torch.cat(answers, dim=2).transpose(1, 2).contiguous(), None


def check_apart(policy: Any, vocabulary: int, folder: str, device: torch.device, key: str) -> None:
    """Show with two packed rows that a completion does not depend on the one before it.

    A collective under ZeRO-3. Raises `ConfigError` for a model that ignores `segments`, or whose
    attention is not that of `attend`, which names the `key` to switch off.
    """
    try:
        _check_apart(policy, vocabulary, folder, device, key)
    except _OtherAttentionError as error:
        raise ConfigError(
            f"model {folder} has {error} in its attention, which packed rows leave out; set {key} "
            "= false"
        ) from None


def _check_apart(policy: Any, vocabulary: int, folder: str, device: torch.device, key: str) -> None:
    half = 8
    ids = torch.arange(3 * half, device=device) % vocabulary
    other = ids.clone()
    other[half : 2 * half] = other[half : 2 * half].flip(0)
    places = torch.arange(half, device=device)
    positions = torch.cat([places, places + half, places + half])[None]
    predictors = torch.arange(2 * half, 3 * half - 1, device=device)
    with torch.no_grad():
        first, second = (
            policy(
                input_ids=row[None],
                rows=torch.zeros_like(predictors),
                predictors=predictors,
                token_ids=row[predictors + 1],
                temperatures=torch.ones(len(predictors), device=device),
                position_ids=positions,
                segments=((half, half, half),),
            )[0]
            for row in (ids, other)
        )
    # equal to the last bit where a row's products do not depend on the other rows; experts'
    # products may be grouped in another way
    if not torch.allclose(first, second, rtol=0.0, atol=1e-5):
        raise cannot_pack(folder, "a sample's log-probs depend on the one before it", key)


def cannot_pack(folder: str, reason: str, key: str) -> ConfigError:
    return ConfigError(
        f"model {folder} does not keep packed samples apart ({reason}); set {key} = false"
    )


def _piece(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    """Return causal attention of n tokens to m ≥ n keys that end with theirs: [B, heads, n, d]."""
    length, keys = query.shape[2], key.shape[2]
    plain = length == keys and (window is None or length <= window)
    mask = None if plain else _mask(length, keys, window, query.dtype, query.device)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=plain, scale=scaling
    )


@lru_cache(maxsize=128)
def _mask(
    length: int, keys: int, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return what is added to the scores of the last `length` tokens of `keys`: [length, keys].

    0 for a key that a token sees, else −∞: torch would make that of a mask of bools, in every call.
    Every layer asks for the same ones.
    """
    places = torch.arange(keys - length, keys, device=device)
    distance = places[:, None] - torch.arange(keys, device=device)[None, :]
    seen = distance >= 0
    if window is not None:
        seen &= distance < window
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Return all pieces in one call of the flash kernel, which aligns queries with the last keys.

    Keys and values of a prompt are copied in front of each completion's own: small next to the
    layer's activations where few heads have keys, and it leaves one kernel and torch's own backward
    pass. [1, heads, L, d] -> [1, L, heads, d].
    """
    from torch.nn.attention.varlen import varlen_attn

    layout = _layout(segments, query.device)
    answer = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1)[layout.columns],
        value[0].transpose(0, 1)[layout.columns],
        layout.query_ends,
        layout.key_ends,
        layout.longest_query,
        layout.longest_key,
        scale=scaling,
        # (left, right): with right = 0 the kernel is causal
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    if not isinstance(answer, Tensor):
        raise TypeError("the kernel gave more than it was asked for")
    return answer[None]


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """The pieces of a row, for the variable-length kernel."""

    columns: Tensor
    """int64: the columns that each piece sees, one piece after the other."""
    query_ends: Tensor
    """int32 [pieces + 1]: where each piece's queries begin and end."""
    key_ends: Tensor
    """int32 [pieces + 1]: where its part of `columns` does."""
    longest_query: int
    longest_key: int


@lru_cache(maxsize=8)
def _layout(segments: Segments, device: torch.device) -> _Layout:
    """Every layer of a pass asks for the same one."""
    columns: list[int] = []
    queries: list[int] = []
    keys: list[int] = []
    begin = 0
    for prompt, *completions in segments:
        shared = range(begin, begin + prompt)
        columns += shared
        queries.append(prompt)
        keys.append(prompt)
        begin += prompt
        for length in completions:
            columns += [*shared, *range(begin, begin + length)]
            queries.append(length)
            keys.append(prompt + length)
            begin += length
    query_ends, key_ends = (
        torch.tensor([0, *lengths]).cumsum(0).int().to(device) for lengths in (queries, keys)
    )
    index = torch.tensor(columns, device=device)
    return _Layout(index, query_ends, key_ends, max(queries), max(keys))
