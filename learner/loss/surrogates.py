"""The surrogate objectives: one function for each value of `learner.loss`.

Each says what a token's ratio r = π_θ/π_old and its advantage A are worth. Mask, correction and
normaliser are outside of it, the same for all (policy.py, correction.py, normaliser.py). To add
one: a function here, its line in `SURROGATES`, its line in `methods.LOSSES`, and a worked example
in tests/unit/learner/test_surrogates.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learner.loss import over_samples
from learner.loss.policy import Objective, PolicyTokens
from stepcoder_dist.config import LearnerConfig

Surrogate = Callable[[PolicyTokens, LearnerConfig], Objective]


def ppo(tokens: PolicyTokens, learner: LearnerConfig) -> Objective:
    """PPO's clipped surrogate (arXiv 1707.06347, Eq. 7): min(r A, clip(r, 1 ± ε) A), r = π_θ/π_old.

    ε = 0.2: ratio 1.35 with advantage 1 is 1.2 and clipped; ratio 0.74 with advantage 1 is 0.74.
    """
    return _clipped(tokens, _ratios(tokens), 1 - learner.ratio_clip, 1 + learner.ratio_clip)


def clip_higher(tokens: PolicyTokens, learner: LearnerConfig) -> Objective:
    """PPO's with a wider upper side (DAPO, arXiv 2503.14476, 3.1): clip(r, 1 − ε, 1 + ε_high).

    ε = 0.2, ε_high = 0.28: ratio 1.35 with advantage 1 is 1.28; ratio 0.74 with −1 is −0.8.
    """
    low, high = 1 - learner.ratio_clip, 1 + learner.ratio_clip_high
    return _clipped(tokens, _ratios(tokens), low, high)


def dual_clip(tokens: PolicyTokens, learner: LearnerConfig) -> Objective:
    """PPO's, and never below c A where A < 0 (arXiv 1912.09729): max(ppo, c A).

    A sample of negative advantage with a ratio that has grown beyond c has no gradient.

    c = 3: ratio 4 with advantage −1 is −3 and clipped; ratio 2 with advantage −1 is −2.
    """
    objective = ppo(tokens, learner)
    aims = tokens.advantages
    floor = learner.dual_clip * aims
    beyond = (aims < 0) & (_ratios(tokens) > learner.dual_clip)
    values = torch.where(aims < 0, torch.maximum(objective.values, floor), objective.values)
    return Objective(values, objective.clipped | beyond)


def gspo(tokens: PolicyTokens, learner: LearnerConfig) -> Objective:
    """PPO's with the ratio of a sequence (GSPO, arXiv 2507.18071): s = exp(mean of log r).

    The mean is over the sample's kept tokens, so that masked tokens have no gradient through it. In
    the form of GSPO-token (its section 4.3), sg[s] · π_θ/sg[π_θ]: the same where all tokens of a
    sample have one advantage, and defined where they do not. `learner.sequence_clip`
    are its ε, lower and upper, far smaller than a token's.

    log r 0.0001 and 0.0011 of one sample: s = e^0.0006, above 1 + 0.0004; with advantage 1 both
    tokens are 1.0004 and clipped.
    """
    total = over_samples(tokens.samples)
    log_ratios = torch.where(tokens.keep, tokens.logprobs - tokens.old_logprobs, 0.0).detach()
    kept = total(tokens.keep.double())
    sequence = (total(log_ratios.double()) / kept.clamp(min=1)).exp().float()
    own = torch.where(tokens.keep, tokens.logprobs - tokens.logprobs.detach(), 0.0).exp()
    below, above = learner.sequence_clip
    return _clipped(tokens, sequence * own, 1 - below, 1 + above)


def cispo(tokens: PolicyTokens, learner: LearnerConfig) -> Objective:
    """REINFORCE with a capped ratio as weight (CISPO, arXiv 2506.13585, Eq. 4 and 5).

    sg[min(r, 1 + ε_high)] · A · log π_θ. There is no lower bound, as in the paper. Every kept token
    has a gradient; `clipped` are those whose weight is capped.

    ε_high = 0.28, log π_θ = −0.5, advantage 1: ratio 1.35 is 1.28 · −0.5 = −0.64; ratio 0.74 is
    −0.37.
    """
    high = 1 + learner.ratio_clip_high
    ratios = _ratios(tokens).detach()
    logprobs = torch.where(tokens.keep, tokens.logprobs, 0.0)
    return Objective(ratios.clamp(max=high) * tokens.advantages * logprobs, ratios > high)


SURROGATES: dict[str, Surrogate] = {
    "ppo": ppo,
    "clip_higher": clip_higher,
    "dual_clip": dual_clip,
    "gspo": gspo,
    "cispo": cispo,
}
"""By the values of `learner.loss`."""


def _ratios(tokens: PolicyTokens) -> Tensor:
    # masked before the exponential: an overflowing ratio must not bring in 0 · inf = nan
    return torch.where(tokens.keep, tokens.logprobs - tokens.old_logprobs, 0.0).exp()


def _clipped(tokens: PolicyTokens, ratios: Tensor, low: float, high: float) -> Objective:
    """min(r A, clip(r, low, high) A)."""
    aims = tokens.advantages
    values = torch.minimum(ratios * aims, ratios.clamp(low, high) * aims)
    clipped = ((ratios > high) & (aims > 0)) | ((ratios < low) & (aims < 0))
    return Objective(values, clipped)
