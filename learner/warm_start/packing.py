"""Several examples in one row, one after the other, without padding: dealt to ranks, as tensors.

A packed row has no columns that nobody asked for. What keeps its examples apart is
`packed_attention.py`; loss and gradients are those of the examples alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import numpy as np
import torch

from learner.batching import Indices, Lengths, MicroBatch, TokenPair, lengths


def deal(
    samples: Indices, lengths: Lengths, *, ranks: int, capacity_tokens: int
) -> list[list[Indices]]:
    """Return [rank][k]: the samples of each rank's k-th packed row.

    As few rows a rank as `capacity_tokens` allows, the same number for every rank (perhaps an empty
    one: ZeRO's collectives need every rank in every pass), and all of about the same length:
    longest sample first, each into the shortest row so far (Graham 1969). A sample that is longer
    than the capacity gets a row of its own.
    """
    order = sorted(samples, key=lambda i: (-lengths[i], i))
    tokens = sum(lengths[i] for i in order)
    capacity = max(capacity_tokens, lengths[order[0]] if order else 0)
    for rounds in count(max(1, math.ceil(tokens / (ranks * capacity)))):
        rows: list[list[int]] = [[] for _ in range(rounds * ranks)]
        sizes = [0] * len(rows)
        for index in order:
            shortest = sizes.index(min(sizes))
            rows[shortest].append(index)
            sizes[shortest] += lengths[index]
        if max(sizes) <= capacity:
            break
    return [[tuple(row) for row in rows[rank::ranks]] for rank in range(ranks)]


def pack(samples: Indices, batch: Sequence[TokenPair], pad_id: int) -> MicroBatch:
    """Put the samples one after the other into one row; none at all gives one column, N = 0."""
    if not samples:
        alone = torch.full((1, 1), pad_id, dtype=torch.int64)
        none = torch.zeros(0, dtype=torch.int64)
        return MicroBatch(
            input_ids=alone,
            rows=none,
            predictors=none,
            token_ids=none,
            samples=none,
            offsets=none,
            position_ids=torch.zeros_like(alone),
            segments=(1,),
        )
    chosen = [batch[i] for i in samples]
    segments = lengths(chosen)
    begins = np.cumsum([0, *segments[:-1]])
    completions = [sample.completion_ids for sample in chosen]
    offsets = [np.arange(len(completion)) for completion in completions]
    predictors = [
        begin + len(sample.prompt_ids) + places - 1
        for begin, sample, places in zip(begins, chosen, offsets, strict=True)
    ]
    ids = [part for sample in chosen for part in (sample.prompt_ids, sample.completion_ids)]
    owners = np.repeat(samples, [len(completion) for completion in completions])
    return MicroBatch(
        input_ids=_int64(np.concatenate(ids))[None],
        rows=torch.zeros(len(owners), dtype=torch.int64),
        predictors=_int64(np.concatenate(predictors)),
        token_ids=_int64(np.concatenate(completions)),
        samples=_int64(owners),
        offsets=_int64(np.concatenate(offsets)),
        position_ids=_int64(np.concatenate([np.arange(length) for length in segments]))[None],
        segments=tuple(segments),
    )


def _int64(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
