"""The losses of a step: pure functions on float32 tensors over the N tokens of a micro-batch.

    policy.py        the policy's loss: a function for each surrogate objective
    correction.py    the weight of a token whose sampler was not π_old
    kl.py            the KL to the reference as a loss, and from π_old as a figure
    value.py         the critic's loss

Index i of every argument speaks of the same token. Each loss is a sum divided by a count that the
caller takes over the *entire optimiser step on all ranks*: the micro-batches' losses then add up to
the step's loss, however it was cut into micro-batches and ranks.
"""

from __future__ import annotations

from torch import Tensor


def check_tokens(first: Tensor, *others: Tensor) -> None:
    """Raise `ValueError` unless all are vectors of the same length."""
    for tensor in (first, *others):
        if tensor.ndim != 1 or tensor.shape != first.shape:
            raise ValueError(f"expected [tokens] {tuple(first.shape)}, not {tuple(tensor.shape)}")
