"""Means over groups of samples. S = samples of an optimiser step, of all ranks.

`groups` int64 [S] is the number of each sample's group (`Ticket.group`), from 0. A group of one has
nothing to be compared with, and advantage 0. Sums are in float64 and through a matrix product:
equal scores cancel exactly, and no order of atomic additions makes two ranks differ.
"""

from __future__ import annotations

import torch
from torch import Tensor


class GroupMean:
    """The mean over each sample's group, of any float64 [S]."""

    def __init__(self, groups: Tensor) -> None:
        self._membership = torch.nn.functional.one_hot(groups).double()
        self._by_group = self._membership.sum(dim=0)
        self.sizes = self._by_group[groups]
        """float64 [S]: how many samples each sample's group has."""

    def __call__(self, values: Tensor) -> Tensor:
        """Return float64 [S]."""
        return self._membership @ ((self._membership.T @ values) / self._by_group)


def over_tokens(per_sample: Tensor, mask: Tensor) -> Tensor:
    """Every token has its sample's advantage: [S, T], zero where masked."""
    return per_sample[:, None] * mask


def flat_share(scores: Tensor, groups: Tensor) -> float:
    """Return the share of samples in groups whose scores are all the same: they teach nothing."""
    return float(flat_samples(scores, groups).double().mean())


def flat_samples(scores: Tensor, groups: Tensor) -> Tensor:
    """Return bool [S]: the sample's group has one score only."""
    check_groups(scores, groups)
    mean = GroupMean(groups)
    values = scores.double()
    spread = mean((values - mean(values)).square())
    return spread == 0


def check_groups(values: Tensor, groups: Tensor) -> None:
    """Raise `ValueError` unless both are [S], `TypeError` unless `groups` is int64."""
    if values.ndim != 1 or values.shape != groups.shape:
        raise ValueError(f"expected [samples] {tuple(groups.shape)}, not {tuple(values.shape)}")
    if groups.dtype != torch.int64:
        raise TypeError(f"groups are {groups.dtype}; give int64")
