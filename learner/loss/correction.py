"""The weight of a token that was not sampled from π_old."""

from __future__ import annotations

from torch import Tensor

from learner.loss import check_tokens


def correction_weights(old_logprobs: Tensor, rollout_logprobs: Tensor, cap: float) -> Tensor:
    """min(π_old / π_rollout, cap) float32 [N], detached: truncated importance sampling.

    π_old is the learner's own recomputation, π_rollout what vLLM reported; they differ by numerics,
    by top-p, and by the versions between them, so staleness enters here (arXiv 2402.01391 has none;
    the cap is that of arXiv 1606.02647 and of fengyao.notion.site/off-policy-rl).
    """
    check_tokens(old_logprobs, rollout_logprobs)
    return (old_logprobs - rollout_logprobs).exp().clamp(max=cap).detach()
