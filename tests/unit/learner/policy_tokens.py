"""Tokens of a policy's loss for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from learner.loss.policy import PolicyTokens


def tokens(logprobs: Tensor, keep: list[bool], **fields: Tensor) -> PolicyTokens:
    """π_old = 1, advantage 1 and correction 1, all of one sample, unless `fields` say otherwise."""
    count = len(logprobs)
    usual = {
        "old_logprobs": torch.zeros(count),
        "advantages": torch.ones(count),
        "corrections": torch.ones(count),
        "samples": torch.zeros(count, dtype=torch.int64),
    }
    return PolicyTokens(
        logprobs=logprobs, keep=torch.tensor(keep, dtype=torch.bool), **(usual | fields)
    )
