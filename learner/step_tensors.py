"""What one PPO step knows about every token of its batch: [S, T] tensors, the same on all ranks.

S = samples of the step, T = its longest completion. Column t speaks of completion token t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learner import advantages
from stepcoder_dist.config import LearnerConfig
from stepcoder_dist.records import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTensors:
    """What the batch itself says."""

    mask: Tensor
    """bool [S, T]: real completion tokens."""
    keep: Tensor
    """bool [S, T]: tokens that carry policy loss; part of `mask`."""
    rollout_logprobs: Tensor
    """float32 [S, T]."""
    scores: Tensor
    """float32 [S]."""
    temperatures: Tensor
    """float32 [S]."""

    @classmethod
    def of(cls, batch: Sequence[Trajectory], device: torch.device) -> StepTensors:
        shape = (len(batch), max(len(t.completion_ids) for t in batch))
        mask, keep = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        logprobs = np.zeros(shape, dtype=np.float32)
        for row, trajectory in enumerate(batch):
            tokens = len(trajectory.completion_ids)
            mask[row, :tokens] = True
            keep[row, :tokens] = trajectory.keep
            logprobs[row, :tokens] = trajectory.rollout_logprobs
        return cls(
            mask=torch.from_numpy(mask).to(device),
            keep=torch.from_numpy(keep).to(device),
            rollout_logprobs=torch.from_numpy(logprobs).to(device),
            scores=torch.tensor([t.reward for t in batch], dtype=torch.float32, device=device),
            temperatures=torch.tensor(
                [t.temperature for t in batch], dtype=torch.float32, device=device
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recomputed:
    """What the networks say about the batch before the first update: float32 [S, T] each."""

    old_logprobs: Tensor
    """log π_old at each sample's temperature."""
    entropy: Tensor
    """Of π_old, in nats."""
    reference_logprobs: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """What the losses aim at: float32 [S, T] each."""

    advantages: Tensor
    """Whitened over the response tokens of the whole step."""
    returns: Tensor
    """Before whitening: advantage + value."""
    advantage_std: float
    """Before whitening."""

    @classmethod
    def of(cls, tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Targets:
        rewards = advantages.token_rewards(
            tensors.scores,
            known.old_logprobs,
            known.reference_logprobs,
            tensors.mask,
            learner.kl_beta,
        )
        raw = advantages.generalised_advantages(
            rewards,
            known.values,
            tensors.mask,
            gamma=learner.gamma,
            gae_lambda=learner.gae_lambda,
        )
        return cls(
            advantages=advantages.whiten(raw, tensors.mask),
            returns=raw + known.values,
            advantage_std=float(raw[tensors.mask].std(correction=0)),
        )
