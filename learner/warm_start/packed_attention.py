"""Attention over a packed row: every example attends to itself alone.

The row is cut where examples end and each piece goes through torch's own causal kernel, so a
packed example gets what it would get alone, and no product is formed that a mask would throw away:
a block-diagonal mask over a row of 2048 tokens made an update more than twice as slow on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stepcoder_dist.errors import ConfigError

NAME = "stepcoder_packed"
_ATTENTION = {"full_attention", "sliding_attention"}
"""Layers that keep pieces apart when their attention is cut; recurrent ones would carry state."""


def install(causal_lm: Any, folder: str) -> None:
    """Let the model attend by `segments`. Raises `ConfigError` for one that cannot."""
    others = set(getattr(causal_lm.config, "layer_types", None) or ()) - _ATTENTION
    if others:
        raise cannot_pack(folder, f"it has {', '.join(sorted(others))} layers")
    AttentionInterface.register(NAME, attend)
    try:
        causal_lm.set_attn_implementation(NAME)
    except ValueError as error:
        raise cannot_pack(folder, str(error).splitlines()[0]) from None


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: tuple[int, ...] = (),
    **options: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention inside each segment: [1, heads, L, d] -> [1, L, heads, d].

    `segments` holds the lengths of the row's pieces, L in all; a model that does not pass them on
    attends to the entire row, and `check_apart` refuses it. `attention_mask` is None: packed rows
    have no padding. A model with a sliding window passes it as `sliding_window`.
    """
    del attention_mask
    window = options.get("sliding_window")
    lengths = list(segments) or [query.shape[2]]
    # split, not slices: its backward pass is one concatenation, not a full row of zeros a piece
    pieces = zip(*(torch.split(t, lengths, dim=2) for t in (query, key, value)), strict=True)
    answers = [
        sdpa_attention_forward(module, q, k, v, _band(q, window), **options)[0]
        for q, k, v in pieces
    ]
    return torch.cat(answers, dim=1), None


def check_apart(policy: Any, vocabulary: int, folder: str, device: torch.device) -> None:
    """Show with two packed rows that an example does not depend on the one before it.

    A collective under ZeRO-3. Raises `ConfigError` for a model that ignores `segments`.
    """
    half = 8
    ids = torch.arange(2 * half, device=device) % vocabulary
    other = ids.clone()
    other[:half] = other[:half].flip(0)
    positions = (torch.arange(2 * half, device=device) % half)[None]
    predictors = torch.arange(half, 2 * half - 1, device=device)
    with torch.no_grad():
        first, second = (
            policy(
                input_ids=row[None],
                rows=torch.zeros_like(predictors),
                predictors=predictors,
                token_ids=row[predictors + 1],
                temperatures=torch.ones(len(predictors), device=device),
                position_ids=positions,
                segments=(half, half),
            )[0]
            for row in (ids, other)
        )
    # equal to the last bit where a row's products do not depend on the other rows; experts'
    # products may be grouped in another way
    if not torch.allclose(first, second, rtol=0.0, atol=1e-5):
        raise cannot_pack(folder, "an example's log-probs depend on the example before it")


def cannot_pack(folder: str, reason: str) -> ConfigError:
    return ConfigError(
        f"model {folder} does not keep packed examples apart ({reason}); set sft.packing = false"
    )


def _band(query: Tensor, window: int | None) -> Tensor | None:
    """The mask of a sliding window, bool [n, n], for a piece that is longer than the window."""
    length = query.shape[2]
    if window is None or length <= window:
        return None
    places = torch.arange(length, device=query.device)
    distance = places[:, None] - places[None, :]
    return (distance >= 0) & (distance < window)
