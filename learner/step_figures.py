"""The figures of a step: sums over its updates, and measurements before the first of them."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from learner.advantage.groups import flat_share
from learner.loss.correction import correction_weights
from learner.loss.value import explained_variance
from learner.step_tensors import Recomputed, StepTensors, Targets
from stepcoder_dist.config import LearnerConfig

Figure = Literal["policy_loss", "clip_fraction", "approx_kl", "kl_loss", "value_loss"]
"""Names of the sums over the tokens of one update."""
_TOGETHER = 32
"""Samples whose corrections are computed at once: some need memory for tokens times samples."""


class UpdateSums:
    """Named sums of one update: parts of micro-batches add up here, then those of all ranks.

    A part is a scalar, already divided by the count of the entire update on all ranks.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums: dict[Figure, Tensor] = {
            name: torch.zeros((), dtype=torch.float64, device=device) for name in get_args(Figure)
        }

    def add(self, name: Figure, part: Tensor) -> None:
        """Add a micro-batch's part, in float64."""
        self._sums[name] += part.detach()

    def over_ranks(self) -> dict[Figure, float]:
        """Return every sum over all ranks, 0 where nothing was added. A collective."""
        totals = torch.stack(list(self._sums.values()))
        torch.distributed.all_reduce(totals)
        return dict(zip(self._sums, totals.tolist(), strict=True))

    def ranks_not_finite(self) -> list[int]:
        """Return the ranks on which a part was not finite. A collective."""
        own = torch.stack(list(self._sums.values())).isfinite().all()
        ranks = torch.distributed.get_world_size()
        of_all = [torch.zeros_like(own, dtype=torch.uint8) for _ in range(ranks)]
        torch.distributed.all_gather(of_all, own.to(torch.uint8))
        return [rank for rank, finite in enumerate(of_all) if not finite]


def before_update(
    tensors: StepTensors, known: Recomputed, targets: Targets, learner: LearnerConfig
) -> dict[str, float]:
    """Metrics as they were before the first update.

    Those of the policy are over the response tokens that a pass saw, and absent if none did.
    """
    figures = {"advantage_std": targets.advantage_std}
    seen, mask = known.seen, tensors.mask
    if seen.any():
        old, rollout = known.old_logprobs[seen], tensors.rollout_logprobs[seen]
        corrections = _corrections(tensors, known, learner)
        figures["logprob_mismatch"] = float((old - rollout).abs().mean())
        figures["correction_mean"] = float(corrections.mean())
        figures["entropy"] = float(known.entropy[seen].mean())
        if known.reference_logprobs is not None:
            figures["kl_reference"] = float((old - known.reference_logprobs[seen]).mean())
    if known.values is not None and targets.returns is not None:
        explained = explained_variance(targets.returns[mask], known.values[mask])
        figures["explained_variance"] = explained
    else:
        figures["flat_share"] = flat_share(tensors.scores, tensors.groups)
    return figures


def _corrections(tensors: StepTensors, known: Recomputed, learner: LearnerConfig) -> Tensor:
    """Return the correction weights of the tokens that a pass saw, by sample: float32 [N]."""
    parts = []
    for first in range(0, len(known.seen), _TOGETHER):
        rows = slice(first, first + _TOGETHER)
        seen = known.seen[rows]
        old, rollout = known.old_logprobs[rows][seen], tensors.rollout_logprobs[rows][seen]
        samples = torch.nonzero(seen)[:, 0]
        parts.append(correction_weights(old, rollout, samples, learner))
    return torch.cat(parts)
