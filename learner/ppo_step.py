"""One step of one rank: recompute, aim (advantage_rules.py), then epochs of minibatches.

Every rank holds the whole batch, forwards its own micro-batches, and knows every count that a loss
is divided by without asking the others (batching.py).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learner import advantages, batching, group_advantages, ppo_loss
from learner.advantage_rules import RULES
from learner.batching import MicroBatch
from learner.step_tensors import Recomputed, StepTensors, Targets
from learner.zero_engine import ZeroEngine
from stepcoder_dist.config import LearnerConfig
from stepcoder_dist.records import Trajectory, WeightVersion

PAD_ID = 0
"""Fills the right of short rows; causal attention never lets a real token see it."""


class PpoStep:
    """The networks of one rank and what one step does to them."""

    def __init__(
        self,
        learner: LearnerConfig,
        *,
        policy: ZeroEngine,
        critic: ZeroEngine | None,
        reference: Any,
        rank: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._learner = learner
        self._policy = policy
        self._critic = critic
        self._reference = reference
        self._rank = rank
        self._seed = seed
        self._device = device
        self._rule = RULES[learner.advantage]

    def run(self, batch: Sequence[Trajectory], version: WeightVersion) -> dict[str, float]:
        """Train on the whole batch from weights `version`; return metrics, the same on all ranks.

        A batch without a kept token changes nothing.
        """
        began = time.perf_counter()
        response = sum(len(t.completion_ids) for t in batch)
        counts = {"response_tokens": float(response), "kept_share": 0.0}
        if not any(t.carriers.any() for t in batch):
            return counts
        tensors = StepTensors.of(batch, self._device)
        known = self._recompute(batch, tensors)
        targets = self._rule.targets(tensors, known, self._learner)
        kept = int(targets.keep.sum())
        if kept == 0:
            return counts
        counts["kept_share"] = kept / response
        updates = self._train(batch, tensors, known, targets, version)
        tokens = sum(batching.lengths(batch)) * self._learner.epochs
        speed = {"learner_tokens_per_s": tokens / (time.perf_counter() - began)}
        return counts | _before(tensors, known, targets, self._learner) | updates | speed

    @torch.no_grad()
    def _recompute(self, batch: Sequence[Trajectory], tensors: StepTensors) -> Recomputed:
        """Ask the networks once, before the first minibatch; gather what every rank found."""
        networks = 3 if self._critic is None else 4
        found = torch.zeros((networks, *tensors.mask.shape), device=self._device)
        for micro in self._micro_batches(tuple(range(len(batch))), batch):
            place = (micro.samples, micro.offsets)
            inputs = micro.policy_inputs(tensors.temperatures[micro.samples])
            old, entropy = self._policy(**inputs)
            reference, _ = self._reference(**inputs)
            results = [old, entropy, reference]
            if self._critic is not None:
                results.append(self._critic(**micro.critic_inputs()))
            for layer, result in enumerate(results):
                found[layer][place] = result
        # every entry is zero on all ranks but one: the sum is exact
        torch.distributed.all_reduce(found)
        old, entropy, reference, *values = found.unbind()
        return Recomputed(
            old_logprobs=old,
            entropy=entropy,
            reference_logprobs=reference,
            values=values[0] if values else None,
        )

    def _train(
        self,
        batch: Sequence[Trajectory],
        tensors: StepTensors,
        known: Recomputed,
        targets: Targets,
        version: WeightVersion,
    ) -> dict[str, float]:
        """All epochs and minibatches. Returns the means over the updates."""
        sums: dict[str, list[float]] = defaultdict(list)
        for epoch in range(self._learner.epochs):
            seed = (self._seed, version, epoch)
            for part in batching.minibatches(len(batch), self._learner.minibatch_samples, seed):
                update = self._update(part, batch, tensors, known, targets, version)
                for name, value in update.items():
                    sums[name].append(value)
        return {name: sum(values) / len(values) for name, values in sums.items()}

    def _update(
        self,
        part: batching.Indices,
        batch: Sequence[Trajectory],
        tensors: StepTensors,
        known: Recomputed,
        targets: Targets,
        version: WeightVersion,
    ) -> dict[str, float]:
        """One optimiser update of policy and critic on one minibatch."""
        learner = self._learner
        rows = torch.tensor(part, device=self._device)
        kept, response = int(targets.keep[rows].sum()), int(tensors.mask[rows].sum())
        alone = learner.critic_warmup_steps if self._critic is not None else 0
        # without a kept token Adam's momentum would still move the policy
        trains_policy = kept > 0 and version >= alone
        totals = torch.zeros(5, dtype=torch.float64, device=self._device)
        micros = self._micro_batches(part, batch)
        for number, micro in enumerate(micros):
            last = number == len(micros) - 1
            if trains_policy:
                loss, figures = self._policy_loss(micro, tensors, known, targets, kept, response)
                self._policy.backward(loss, last=last)
                totals[:4] += figures.double()
            if self._critic is not None:
                loss = self._value_loss(self._critic, micro, known, targets, response)
                self._critic.backward(loss, last=last)
                totals[4] += loss.detach()
        torch.distributed.all_reduce(totals)
        policy_loss, clip_fraction, approx_kl, kl_loss, value_loss = totals.tolist()
        metrics: dict[str, float] = {}
        if self._critic is not None:
            metrics |= {
                "value_loss": value_loss,
                "grad_norm_critic": self._critic.step(learner.critic_lr * self._warmup(version)),
            }
        if trains_policy:
            metrics |= {
                "policy_loss": policy_loss,
                "clip_fraction": clip_fraction,
                "approx_kl": approx_kl,
                **({"kl_loss": kl_loss} if self._rule.kl_in_loss else {}),
                "grad_norm_policy": self._policy.step(
                    learner.policy_lr * self._warmup(version - alone)
                ),
            }
        return metrics

    def _policy_loss(
        self,
        micro: MicroBatch,
        tensors: StepTensors,
        known: Recomputed,
        targets: Targets,
        kept: int,
        response: int,
    ) -> tuple[Tensor, Tensor]:
        """This micro-batch's part of the loss to go down, and of four figures (float32 [4]).

        The figures: policy loss, clip fraction, KL from π_old, and the loss of the KL to the
        reference, which is 0 where the rule has none.
        """
        place = (micro.samples, micro.offsets)
        inputs = micro.policy_inputs(tensors.temperatures[micro.samples])
        logprobs, _ = self._policy(**inputs)
        old, aim, keep = known.old_logprobs[place], targets.advantages[place], targets.keep[place]
        clip = self._learner.ratio_clip
        loss = ppo_loss.policy_loss(
            logprobs,
            old,
            aim,
            ppo_loss.correction_weights(
                old, tensors.rollout_logprobs[place], self._learner.correction_cap
            ),
            keep,
            ratio_clip=clip,
            kept_tokens=kept,
        )
        now = logprobs.detach()
        clipped = ppo_loss.clipped_tokens(now, old, aim, keep, clip)
        moved = ppo_loss.kl_from_old(now, old).sum()
        figures = [loss.detach(), clipped / kept, moved / response, torch.zeros_like(moved)]
        if self._rule.kl_in_loss:
            reference = known.reference_logprobs[place]
            kl_loss = self._learner.kl_beta * ppo_loss.reference_kl(logprobs, reference, response)
            figures[3] = kl_loss.detach()
            loss = loss + kl_loss
        return loss, torch.stack(figures)

    def _value_loss(
        self,
        critic: ZeroEngine,
        micro: MicroBatch,
        known: Recomputed,
        targets: Targets,
        response: int,
    ) -> Tensor:
        """This micro-batch's part of the critic's loss."""
        if known.values is None or targets.returns is None:
            raise ValueError(f"learner.advantage = {self._learner.advantage} trains no critic")
        place = (micro.samples, micro.offsets)
        return self._learner.value_weight * ppo_loss.value_loss(
            critic(**micro.critic_inputs()),
            known.values[place],
            targets.returns[place],
            value_clip=self._learner.value_clip,
            response_tokens=response,
        )

    def _micro_batches(
        self, part: batching.Indices, batch: Sequence[Trajectory]
    ) -> list[MicroBatch]:
        plan = batching.deal(
            part,
            batching.lengths(batch),
            ranks=torch.distributed.get_world_size(),
            microbatch_samples=self._learner.microbatch_samples,
        )
        return [batching.pack(s, batch, PAD_ID).to(self._device) for s in plan[self._rank]]

    def _warmup(self, steps_done: int) -> float:
        steps = self._learner.warmup_steps
        return min(1.0, (steps_done + 1) / steps) if steps else 1.0


def _before(
    tensors: StepTensors, known: Recomputed, targets: Targets, learner: LearnerConfig
) -> dict[str, float]:
    """Metrics over the response tokens as they were before the first update."""
    mask = tensors.mask
    old, rollout = known.old_logprobs[mask], tensors.rollout_logprobs[mask]
    corrections = ppo_loss.correction_weights(old, rollout, learner.correction_cap)
    if known.values is not None and targets.returns is not None:
        explained = advantages.explained_variance(targets.returns, known.values, mask)
        by_rule = {"explained_variance": explained}
    else:
        by_rule = {"flat_share": group_advantages.flat_share(tensors.scores, tensors.groups)}
    return {
        "kl_reference": float((old - known.reference_logprobs[mask]).mean()),
        "logprob_mismatch": float((old - rollout).abs().mean()),
        "correction_mean": float(corrections.mean()),
        "entropy": float(known.entropy[mask].mean()),
        **by_rule,
        "advantage_std": targets.advantage_std,
    }
