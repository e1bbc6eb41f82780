"""The weight of a token that was not sampled from π_old: a function for each `learner.correction`.

π_old is the learner's own recomputation, π_rollout what vLLM reported. They differ by numerics, by
top-p, and by the versions between them, so staleness enters here (arXiv 2402.01391 has none). To
add one: a function here, its line in `CORRECTIONS`, its line in `methods.CORRECTIONS`, and a worked
example in tests/unit/learner/test_correction.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from learner.loss import check_tokens, over_samples
from stepcoder_dist.config import LearnerConfig

Rule = Callable[[Tensor, Tensor, LearnerConfig], Tensor]
"""From log π_old/π_rollout float32 [N] and each token's sample int64 [N] to weights [N]."""


def none(log_ratios: Tensor, samples: Tensor, learner: LearnerConfig) -> Tensor:
    """1 for every token: the sampler counts as π_old (as in arXiv 1707.06347).

    π_old/π_rollout = e³: 1.
    """
    del samples, learner
    return torch.ones_like(log_ratios)


def token(log_ratios: Tensor, samples: Tensor, learner: LearnerConfig) -> Tensor:
    """min(π_old/π_rollout, cap) of each token: truncated importance sampling (arXiv 1606.02647).

    Also fengyao.notion.site/off-policy-rl.

    Cap 2: ratios e³, 1 and e⁻⁵ are 2, 1 and 0.0067.
    """
    del samples
    return log_ratios.exp().clamp(max=learner.correction_cap)


def sequence(log_ratios: Tensor, samples: Tensor, learner: LearnerConfig) -> Tensor:
    """min(Π π_old/π_rollout, cap): one weight for all tokens of a sample.

    The product is over all of its response tokens: without the cap this is the unbiased weight of a
    sequence. The longer the samples, the larger its variance (arXiv 1606.02647, section 2).

    Cap 2: log-ratios 0.1 and 0.2 of one sample are e^0.3 = 1.35 on both.
    """
    totals = over_samples(samples)(log_ratios.double())
    return totals.clamp(max=math.log(learner.correction_cap)).exp().float()


def icepop(log_ratios: Tensor, samples: Tensor, learner: LearnerConfig) -> Tensor:
    """π_old/π_rollout within [floor, cap], else 0 (IcePop, arXiv 2510.18855).

    A token on which sampler and learner disagree too much teaches nothing. It is still counted by
    the normaliser, as in the paper, which has floor 0.5 and cap 5.

    Floor 0.5, cap 2: ratios e³, 1.2 and e⁻⁵ are 0, 1.2 and 0.
    """
    del samples
    ratios = log_ratios.exp()
    within = (ratios >= learner.correction_floor) & (ratios <= learner.correction_cap)
    return torch.where(within, ratios, 0.0)


CORRECTIONS: dict[str, Rule] = {
    "none": none,
    "token": token,
    "sequence": sequence,
    "icepop": icepop,
}
"""By the values of `learner.correction`."""


def correction_weights(
    old_logprobs: Tensor, rollout_logprobs: Tensor, samples: Tensor, learner: LearnerConfig
) -> Tensor:
    """Return each token's weight, float32 [N], detached. All tokens of a sample are there."""
    check_tokens(old_logprobs, rollout_logprobs, samples)
    log_ratios = (old_logprobs - rollout_logprobs).detach()
    return CORRECTIONS[learner.correction](log_ratios, samples, learner)
