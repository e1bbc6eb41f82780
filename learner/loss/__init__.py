"""The losses of a step: pure functions on float32 tensors over the N tokens of a micro-batch.

    policy.py        the policy's loss: mask, correction, objective, normaliser
      surrogates.py    what a token's ratio and advantage are worth: `learner.loss`
      correction.py    the weight of a token whose sampler was not π_old: `learner.correction`
      normaliser.py    what the sum is divided by: `learner.normaliser`
    kl.py            the KL to the reference, in the reward or as a loss: `learner.kl_estimator`
    value.py         the critic's loss

Index i of every argument speaks of the same token. Each loss is a sum divided by a count that the
caller takes over the *entire optimiser step on all ranks*: the micro-batches' losses then add up to
the step's loss, however it was cut into micro-batches and ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def check_tokens(first: Tensor, *others: Tensor) -> None:
    """Raise `ValueError` unless all are vectors of the same length."""
    for tensor in (first, *others):
        if tensor.ndim != 1 or tensor.shape != first.shape:
            raise ValueError(f"expected [tokens] {tuple(first.shape)}, not {tuple(tensor.shape)}")


def over_samples(samples: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what gives each token the sum over its sample, of any float64 [N].

    `samples` int64 [N] is each token's sample. Through a matrix product: no order of atomic
    additions makes two runs differ.
    """
    numbers: Tensor = torch.unique(samples, return_inverse=True)[1]
    count = int(numbers.max()) + 1 if len(numbers) else 0
    members = torch.nn.functional.one_hot(numbers, count).double() if count else None
    return lambda values: values if members is None else members @ (members.T @ values)
