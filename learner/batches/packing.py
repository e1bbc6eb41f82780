"""Many samples in one row, without padding, and what they have in common once.

A row is a sequence of groups: a prompt, then every completion of it. A completion sees its prompt
and itself (packed_attention.py), at the positions that it has alone, so that log-probs, values,
losses and gradients are those of the samples alone. Which samples share a row: balance.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import torch

from learner.batches.batching import Indices, MicroBatch, TokenPair


def pack(
    samples: Indices, batch: Sequence[TokenPair] | Mapping[int, TokenPair], pad_id: int
) -> MicroBatch:
    """Put the samples into one row; neighbours with equal prompts share one.

    None at all gives one column, N = 0.
    """
    ids: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    predictors: list[np.ndarray] = []
    segments: list[tuple[int, ...]] = []
    begin = 0
    for _, members in groupby(samples, key=lambda i: batch[i].prompt_ids.tobytes()):
        group = list(members)
        prompt = batch[group[0]].prompt_ids
        completions = [batch[i].completion_ids for i in group]
        sizes = [len(completion) for completion in completions]
        # its first token is predicted by the prompt's last column, the others by the one before
        last, begin = begin + len(prompt) - 1, begin + len(prompt)
        for size in sizes:
            predictors.append(np.concatenate([[last], np.arange(begin, begin + size - 1)]))
            begin += size
        ids += [prompt, *completions]
        positions.append(np.arange(len(prompt)))
        positions += [np.arange(len(prompt), len(prompt) + size) for size in sizes]
        # a prompt with one completion is one causal piece
        segments.append((len(prompt), *sizes) if len(group) > 1 else (len(prompt) + sizes[0],))
    if not samples:
        ids, positions, segments = [np.array([pad_id])], [np.zeros(1)], [(1,)]
    sizes = [len(batch[i].completion_ids) for i in samples]
    offsets = [np.arange(size) for size in sizes]
    owners = np.repeat(np.array(samples, dtype=np.int64), sizes)
    return MicroBatch(
        input_ids=_int64(ids)[None],
        rows=torch.zeros(len(owners), dtype=torch.int64),
        predictors=_int64(predictors),
        token_ids=_int64([batch[i].completion_ids for i in samples]),
        samples=torch.from_numpy(owners),
        offsets=_int64(offsets),
        position_ids=_int64(positions)[None],
        segments=tuple(segments),
    )


def _int64(parts: Sequence[np.ndarray]) -> torch.Tensor:
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return torch.from_numpy(joined.astype(np.int64))
