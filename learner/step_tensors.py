"""What one PPO step knows about every token of its batch: [S, T] tensors, the same on all ranks.

S = samples of the step (of all ranks), T = its longest completion. Rows are right-padded. Column t
speaks of completion token t: its reward is earned by sampling token t, its value is that of the
state before token t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stepcoder_dist.records import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTensors:
    """The tensors that come from the batch itself."""

    mask: Tensor
    """bool [S, T]: real completion tokens."""
    token_ids: Tensor
    """int64 [S, T]: the tokens themselves, 0 where there is none."""
    keep: Tensor
    """bool [S, T]: tokens that carry policy loss if their advantage is not negative."""
    blame: Tensor
    """bool [S, T]: tokens that carry it if it is; both are part of `mask`."""
    groups: Tensor
    """int64 [S]: the sample's group, numbered from 0 (`Ticket.group`)."""
    truncated: Tensor
    """bool [S]: cut off at the length limit."""
    rollout_logprobs: Tensor
    """float32 [S, T]."""
    scores: Tensor
    """float32 [S]."""
    temperatures: Tensor
    """float32 [S]."""
    weights: Tensor | None = None
    """float32 [S, T]: what a token's policy loss is multiplied by if its advantage is not
    negative; None: no token of the step has a weight."""
    blame_weights: Tensor | None = None
    """float32 [S, T]: the same if it is; there where `weights` is."""

    @classmethod
    def of(cls, batch: Sequence[Trajectory], device: torch.device) -> StepTensors:
        shape = (len(batch), max(len(t.completion_ids) for t in batch))
        mask, keep, blame = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
        token_ids = np.zeros(shape, dtype=np.int64)
        logprobs = np.zeros(shape, dtype=np.float32)
        for row, trajectory in enumerate(batch):
            tokens = len(trajectory.completion_ids)
            mask[row, :tokens] = True
            token_ids[row, :tokens] = trajectory.completion_ids
            keep[row, :tokens] = trajectory.keep
            blamed = trajectory.keep if trajectory.blame is None else trajectory.blame
            blame[row, :tokens] = blamed
            logprobs[row, :tokens] = trajectory.rollout_logprobs
        return cls(
            mask=torch.from_numpy(mask).to(device),
            token_ids=torch.from_numpy(token_ids).to(device),
            keep=torch.from_numpy(keep).to(device),
            blame=torch.from_numpy(blame).to(device),
            groups=torch.tensor(_groups(batch), dtype=torch.int64, device=device),
            truncated=torch.tensor([t.truncated for t in batch], device=device),
            rollout_logprobs=torch.from_numpy(logprobs).to(device),
            scores=torch.tensor([t.reward for t in batch], dtype=torch.float32, device=device),
            temperatures=torch.tensor(
                [t.temperature for t in batch], dtype=torch.float32, device=device
            ),
            **_weights(batch, shape, device),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recomputed:
    """The networks' answers about the batch before the first update: float32 [S, T] each."""

    old_logprobs: Tensor
    """log π_old at each sample's temperature."""
    entropy: Tensor
    """Of π_old, in nats."""
    seen: Tensor
    """bool [S, T]: the response tokens for which these two are known."""
    in_training: bool
    """The two are zero until the only training pass finds them (decision 0071), and `note`s them:
    no rule may ask for them before."""
    reference_logprobs: Tensor | None
    """None where the KL has no weight: there is no reference then."""
    values: Tensor | None
    """None without a critic."""

    def note(self, place: tuple[Tensor, Tensor], logprobs: Tensor, entropy: Tensor) -> None:
        """Write what the training pass found at (samples, offsets) into the tensors, in place."""
        self.old_logprobs[place] = logprobs
        self.entropy[place] = entropy
        self.seen[place] = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """The targets of the losses (learner/advantage): [S, T] each."""

    advantages: Tensor
    """float32."""
    keep: Tensor
    """bool: tokens that carry policy loss, given the signs of their advantages."""
    returns: Tensor | None
    """float32: what the critic is to predict; None without a critic."""
    advantage_std: float
    """Over the response tokens, before whitening."""
    weights: Tensor | None
    """float32: what a token's policy loss is multiplied by; None: 1."""

    @classmethod
    def of(
        cls,
        tensors: StepTensors,
        advantages: Tensor,
        *,
        before_whitening: Tensor | None = None,
        returns: Tensor | None = None,
    ) -> Targets:
        """Choose each token's mask and weight by the sign of its advantage.

        `before_whitening`: the advantages as they were; `advantages` themselves if not given.
        """
        raw = advantages if before_whitening is None else before_whitening
        weights = tensors.weights
        if weights is not None and tensors.blame_weights is not None:
            weights = torch.where(advantages < 0, tensors.blame_weights, weights)
        return cls(
            advantages=advantages,
            keep=torch.where(advantages < 0, tensors.blame, tensors.keep),
            returns=returns,
            advantage_std=float(raw[tensors.mask].std(correction=0)),
            weights=weights,
        )


def check_step_shape(first: Tensor, mask: Tensor, *others: Tensor) -> None:
    """Raise `ValueError` unless all are [S, T], `TypeError` unless `mask` is bool."""
    for tensor in (first, *others):
        if tensor.ndim != 2 or tensor.shape != mask.shape:  # noqa: PLR2004
            raise ValueError(
                f"expected [samples, tokens] {tuple(mask.shape)}, not {tuple(tensor.shape)}"
            )
    if mask.dtype != torch.bool:
        raise TypeError(f"the mask is {mask.dtype}; give bool")


def _weights(
    batch: Sequence[Trajectory], shape: tuple[int, int], device: torch.device
) -> dict[str, Tensor]:
    """Return both weights of the tokens; nothing where no sample has any."""
    if all(t.weights is None and t.blame_weights is None for t in batch):
        return {}
    found = {name: np.ones(shape, dtype=np.float32) for name in ("weights", "blame_weights")}
    for row, trajectory in enumerate(batch):
        for name, all_weights in found.items():
            own = getattr(trajectory, name)
            if own is not None:
                all_weights[row, : len(own)] = own
    return {name: torch.from_numpy(each).to(device) for name, each in found.items()}


def _groups(batch: Sequence[Trajectory]) -> list[int]:
    """Return a number for each sample's group, from 0.

    A rule that compares samples gets groups whose samples are all there (`SampleBook.take`).
    """
    numbers: dict[str, int] = {}
    return [numbers.setdefault(t.ticket.group, len(numbers)) for t in batch]
