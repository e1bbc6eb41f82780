"""What the policy's loss is divided by: one function for each value of `learner.normaliser`.

Each gets the kept tokens of every sample of the entire update, on all ranks, and returns counts
that are the same on all ranks and for every micro-batch. To add one: a function here, its line in
`NORMALISERS`, its line in `methods.NORMALISERS`, and a worked example in
tests/unit/learner/test_normaliser.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stepcoder_dist.config import LearnerConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normaliser:
    """A token's term is multiplied by its sample's share, if there are any, and by 1 / total."""

    total: float
    shares: Tensor | None = None
    """float32 [S] by position in the step's batch; None: 1 for all."""


Rule = Callable[[Tensor, Tensor, LearnerConfig], Normaliser]
"""From int64 [S] kept tokens of every sample of the step, and int64 [M], the update's samples."""


def kept_tokens(kept: Tensor, update: Tensor, learner: LearnerConfig) -> Normaliser:
    """Divide by all kept tokens of the update: all count the same (DAPO, arXiv 2503.14476, 3.3).

    Samples with 3 and 1 kept tokens: a quarter each.
    """
    del learner
    return Normaliser(total=max(int(kept[update].sum()), 1))


def sequence(kept: Tensor, update: Tensor, learner: LearnerConfig) -> Normaliser:
    """Return the mean of the samples' means over their kept tokens (GRPO, arXiv 2402.03300, Eq. 3).

    Every sample with a kept token counts the same, its tokens less the more of them are kept.

    Samples with 3, 1 and 0 kept tokens: each of the three a sixth, the one a half.
    """
    del learner
    shares = 1.0 / kept.clamp(min=1).to(torch.float32)
    return Normaliser(total=max(int((kept[update] > 0).sum()), 1), shares=shares)


def constant(kept: Tensor, update: Tensor, learner: LearnerConfig) -> Normaliser:
    """Divide by samples · `normaliser_tokens`, whatever is kept (Dr. GRPO, arXiv 2503.20783, 3.2).

    No sample's length counts, neither in its own tokens' weight nor in that of others.

    3 samples and 4 tokens: each kept token a twelfth.
    """
    del kept
    return Normaliser(total=len(update) * learner.normaliser_tokens)


NORMALISERS: dict[str, Rule] = {
    "kept_tokens": kept_tokens,
    "sequence": sequence,
    "constant": constant,
}
"""By the values of `learner.normaliser`."""
