"""Which samples go together: a step -> minibatches -> each rank's micro-batches -> tensors.

`deal` and `pack` here pad samples to the longest, for models that cannot attend within a packed row
(`learner.packing`). For all others: balance.py and packing.py.

Every rank holds the entire step (token ids are small) and computes the same plan from the seed. So
ranks need no exchange about it, and one rank or many see the same minibatches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stepcoder_dist.records import Int32Array

Indices = tuple[int, ...]
"""Positions in the step's batch."""
Lengths = Sequence[int] | Mapping[int, int]
"""Tokens of each sample, by its position."""


class TokenPair(Protocol):
    """A prompt and its continuation: a `Trajectory` or an `SftExample`."""

    @property
    def prompt_ids(self) -> Int32Array: ...
    @property
    def completion_ids(self) -> Int32Array: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """Some samples as tensors. B rows, L columns, N completion tokens in all rows.

    A packed row (B = 1) has no padding and `segments`. Padded rows have it on the right, so causal
    attention needs no mask and row b, column c is token c.
    """

    input_ids: Tensor
    """int64 [B, L]."""
    rows: Tensor
    """int64 [N]: the row of each completion token."""
    predictors: Tensor
    """int64 [N]: the column whose output predicts that token. The only shift: in a padded row
    P + t − 1 for token t after a prompt of P tokens."""
    token_ids: Tensor
    """int64 [N]: the completion tokens themselves."""
    samples: Tensor
    """int64 [N]: position of the token's sample in the step's batch."""
    offsets: Tensor
    """int64 [N]: t, the token's place in its completion."""
    position_ids: Tensor | None = None
    """int64 [B, L] of a packed row: each token's place in its sample."""
    segments: tuple[tuple[int, ...], ...] = ()
    """A packed row's groups, in order: the tokens of the prompt, then of each completion; or of a
    prompt with its only completion."""

    def policy_inputs(self, temperatures: Tensor | None = None) -> dict[str, Any]:
        """Return the arguments of `Policy`, with float32 [N] temperatures, 1 unless given."""
        if temperatures is None:
            temperatures = torch.ones(len(self.token_ids), device=self.token_ids.device)
        tokens = {"token_ids": self.token_ids, "temperatures": temperatures}
        return self.critic_inputs() | tokens

    def critic_inputs(self) -> dict[str, Any]:
        """Return the arguments of `Critic`."""
        packed = {"position_ids": self.position_ids, "segments": self.segments}
        return {
            "input_ids": self.input_ids,
            "rows": self.rows,
            "predictors": self.predictors,
            **(packed if self.segments else {}),
        }

    def to(self, device: torch.device) -> MicroBatch:
        fields = {name: getattr(self, name) for name in MicroBatch.__slots__}
        tensors: dict[str, Any] = {
            name: value.to(device) for name, value in fields.items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


def minibatches(samples: int, size: int, seed: Sequence[int]) -> list[Indices]:
    """Shuffle the step's samples and cut them into minibatches; the last may be smaller."""
    order = np.random.default_rng(list(seed)).permutation(samples).tolist()
    return [tuple(order[start : start + size]) for start in range(0, samples, size)]


def deal(
    minibatch: Indices, lengths: Lengths, *, ranks: int, microbatch_samples: int
) -> list[list[Indices]]:
    """Return [rank][k]: the samples of each rank's k-th micro-batch.

    Longest first, so that neighbours in a micro-batch, and the ranks at the same k, have about the
    same length. Every rank gets the same number of micro-batches, the last ones perhaps empty:
    ZeRO's collectives need every rank in every pass.
    """
    order = sorted(minibatch, key=lambda i: (-lengths[i], i))
    size = min(microbatch_samples, max(1, -(-len(order) // ranks)))
    chunks: list[Indices] = [
        tuple(order[start : start + size]) for start in range(0, len(order), size)
    ]
    rounds = max(1, -(-len(chunks) // ranks))
    chunks += [()] * (rounds * ranks - len(chunks))
    return [chunks[rank::ranks] for rank in range(ranks)]


def pack(samples: Indices, batch: Sequence[TokenPair], pad_id: int) -> MicroBatch:
    """Pad the samples into one micro-batch; none at all gives one row of padding with N = 0."""
    width = max((_length(batch[i]) for i in samples), default=1)
    input_ids = np.full((max(len(samples), 1), width), pad_id, dtype=np.int64)
    parts: list[np.ndarray] = []
    for row, index in enumerate(samples):
        prompt, completion = batch[index].prompt_ids, batch[index].completion_ids
        input_ids[row, : len(prompt)] = prompt
        input_ids[row, len(prompt) : len(prompt) + len(completion)] = completion
        offsets = np.arange(len(completion), dtype=np.int64)
        same = np.ones_like(offsets)
        parts.append(
            np.stack(
                [
                    row * same,
                    len(prompt) + offsets - 1,
                    completion.astype(np.int64),
                    index * same,
                    offsets,
                ]
            )
        )
    flat = np.concatenate(parts, axis=1) if parts else np.zeros((5, 0), dtype=np.int64)
    rows, predictors, token_ids, indices, places = torch.from_numpy(flat).unbind()
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        rows=rows,
        predictors=predictors,
        token_ids=token_ids,
        samples=indices,
        offsets=places,
    )


def lengths(batch: Sequence[TokenPair]) -> list[int]:
    """Return the prompt and completion tokens of each sample."""
    return [_length(sample) for sample in batch]


def _length(sample: TokenPair) -> int:
    return len(sample.prompt_ids) + len(sample.completion_ids)
