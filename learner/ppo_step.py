"""One step of one rank: ask the networks, aim (learner/advantage), then epochs of minibatches.

    run ─ _recompute     π_old, reference and values, once, before anything moves: those that the
                         losses ask for (decision 0071)
        ─ rule           what each token's losses aim at
        ─ _train ─ _update, for each minibatch of each epoch
                     ─ _policy_loss, _value_loss, for each micro-batch

Every rank holds the entire batch, forwards its own micro-batches, and knows every count that a loss
is divided by without asking the others (batching.py).
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from learner import advantage, nonfinite
from learner.batches import balance, batching, packing
from learner.batches.balance import Budget, Work
from learner.batches.batching import MicroBatch
from learner.loss.correction import correction_weights
from learner.loss.kl import ESTIMATORS, kl_from_old, reference_kl
from learner.loss.normaliser import NORMALISERS, Normaliser
from learner.loss.policy import PolicyTokens, policy_loss
from learner.loss.surrogates import SURROGATES
from learner.loss.value import value_loss
from learner.nonfinite import SkippedUpdates
from learner.selection import selected
from learner.step_figures import Figure, UpdateSums, before_update
from learner.step_tensors import Recomputed, StepTensors, Targets
from learner.zero.zero_engine import ZeroEngine
from stepcoder_dist.config import LearnerConfig
from stepcoder_dist.records import Trajectory, WeightVersion

PAD_ID = 0
"""Fills the right of short rows; causal attention never lets a real token see it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """One step under way: what it starts from and what its losses aim at."""

    version: WeightVersion
    """Of the weights before the first update."""
    batch: Sequence[Trajectory]
    tensors: StepTensors
    known: Recomputed
    targets: Targets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Counts:
    """What the losses of one update are divided by, the same on all ranks."""

    kept: int
    """Tokens that carry policy loss."""
    response: int
    normaliser: Normaliser


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
        work: Work | None = None,
    ) -> None:
        """`reference`: None where the KL has no weight.

        `work`: what a row costs, so that ranks get equal shares; None: count tokens only.
        """
        self._learner = learner
        self._policy = policy
        self._critic = critic
        self._reference = reference
        self._rank = rank
        self._seed = seed
        self._device = device
        self._work = work or Work()
        self._rule = advantage.rule(learner.advantage)
        self._kl_in_loss = learner.kl_place == "loss" and reference is not None
        self._surrogate = SURROGATES[learner.loss]

    def run(
        self,
        batch: Sequence[Trajectory],
        version: WeightVersion,
        skipped: SkippedUpdates | None = None,
    ) -> dict[str, float]:
        """Train on the entire batch from weights `version`; return metrics, the same on all ranks.

        A batch without a kept token changes nothing, nor does an update that is not finite:
        `skipped` hears of it.
        """
        began = time.perf_counter()
        response = sum(len(t.completion_ids) for t in batch)
        counts = {"response_tokens": float(response), "kept_share": 0.0}
        if not any(t.carriers.any() for t in batch):
            return counts
        tensors = selected(StepTensors.of(batch, self._device), self._learner.selection)
        if not (tensors.keep | tensors.blame).any():
            return counts
        known = self._recompute(batch, tensors, version)
        targets = self._rule(tensors, known, self._learner)
        kept = int(targets.keep.sum())
        if kept == 0:
            return counts
        counts["kept_share"] = kept / response
        skipped = skipped or SkippedUpdates()
        updates = self._train(
            _Step(version=version, batch=batch, tensors=tensors, known=known, targets=targets),
            skipped,
        )
        if known.in_training:
            known = self._noted_by_all(known)
        tokens = sum(batching.lengths(batch)) * self._learner.epochs
        speed = {"learner_tokens_per_s": tokens / (time.perf_counter() - began)}
        figures = before_update(tensors, known, targets, self._learner)
        if skipped.why:
            figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        return counts | figures | updates | speed

    @torch.no_grad()
    def _recompute(
        self, batch: Sequence[Trajectory], tensors: StepTensors, version: WeightVersion
    ) -> Recomputed:
        """Ask the networks once, before the first minibatch; gather what every rank found."""
        in_training = self._first_seen_in_training(len(batch), version)
        networks = {
            "old": None if in_training else self._policy,
            "reference": self._reference,
            "values": self._critic,
        }
        names = ["entropy", *(name for name, network in networks.items() if network is not None)]
        stack = torch.zeros((len(names), *tensors.mask.shape), device=self._device)
        found = dict(zip(names, stack, strict=True))
        everything = tuple(range(len(batch))) if len(names) > 1 else ()
        tokens = self._learner.tokens_without_gradient
        for micro in self._micro_batches(everything, batch, tokens) if everything else ():
            place = (micro.samples, micro.offsets)
            inputs = micro.policy_inputs(tensors.temperatures[micro.samples])
            if not in_training:
                found["old"][place], found["entropy"][place] = self._policy(**inputs)
            if self._reference is not None:
                found["reference"][place], _ = self._reference(**inputs)
            if self._critic is not None:
                found["values"][place] = self._critic(**micro.critic_inputs())
        # every entry is zero on all ranks but one: the sum is exact
        torch.distributed.all_reduce(stack)
        return Recomputed(
            old_logprobs=torch.zeros_like(stack[0]) if in_training else found["old"],
            entropy=found["entropy"],
            seen=torch.zeros_like(tensors.mask) if in_training else tensors.mask,
            in_training=in_training,
            reference_logprobs=found.get("reference"),
            values=found.get("values"),
        )

    def _first_seen_in_training(self, samples: int, version: WeightVersion) -> bool:
        """Return whether the step's only training pass starts from the weights of π_old.

        The ratio is then 1, and π_old what this pass finds; but a KL inside the reward needs it
        before.
        """
        one_update = samples <= self._learner.minibatch_samples
        trains = version >= self._critic_alone
        return self._learner.old_policy_in_training and one_update and trains

    def _noted_by_all(self, known: Recomputed) -> Recomputed:
        """Return what the training passes of all ranks have noted. A collective."""
        noted = torch.stack([known.old_logprobs, known.entropy, known.seen.float()])
        torch.distributed.all_reduce(noted)
        old, entropy, seen = noted.unbind()
        return replace(known, old_logprobs=old, entropy=entropy, seen=seen.bool())

    def _train(self, step: _Step, skipped: SkippedUpdates) -> dict[str, float]:
        """Run all epochs and minibatches; return the means over the updates that were made."""
        found: dict[str, list[float]] = defaultdict(list)
        for epoch in range(self._learner.epochs):
            seed = (self._seed, step.version, epoch)
            size = self._learner.minibatch_samples
            for part in batching.minibatches(len(step.batch), size, seed):
                figures, why = self._update(part, step)
                skipped.note(part, why)
                for name, value in figures.items():
                    found[name].append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _update(self, part: batching.Indices, step: _Step) -> tuple[dict[str, float], str]:
        """Update policy and critic once, on one minibatch; or neither: return why not."""
        rows = torch.tensor(part, device=self._device)
        kept_by_sample = step.targets.keep.sum(dim=1)
        kept = int(kept_by_sample[rows].sum())
        normaliser = NORMALISERS[self._learner.normaliser](kept_by_sample, rows, self._learner)
        part = self._with_gradient(part, step.targets)
        rows = torch.tensor(part, dtype=torch.int64, device=self._device)
        response = max(int(step.tensors.mask[rows].sum()), 1)
        counts = _Counts(kept=kept, response=response, normaliser=normaliser)
        # without a kept token Adam's momentum would still move the policy
        trains_policy = kept > 0 and step.version >= self._critic_alone
        sums = UpdateSums(self._device)
        micros = self._micro_batches(part, step.batch, self._learner.microbatch_tokens)
        for number, micro in enumerate(micros):
            last = number == len(micros) - 1
            if trains_policy:
                self._policy.backward(self._policy_loss(micro, step, counts, sums), last=last)
            if self._critic is not None:
                loss = self._value_loss(self._critic, micro, step, response, sums)
                self._critic.backward(loss, last=last)
        figures = sums.over_ranks()
        moved = {"policy": self._policy} if trains_policy else {}
        if self._critic is not None:
            moved["critic"] = self._critic
        if why := nonfinite.reason(figures, sums, moved):
            for network in moved.values():
                network.drop()
            return {}, why
        metrics: dict[str, float] = {}
        if self._critic is not None:
            rate = self._learner.critic_lr * self._warmup(step.version)
            metrics["value_loss"] = figures["value_loss"]
            metrics["grad_norm_critic"] = self._critic.step(rate)
        if trains_policy:
            rate = self._learner.policy_lr * self._warmup(step.version - self._critic_alone)
            names: list[Figure] = ["policy_loss", "clip_fraction", "approx_kl"]
            metrics |= {name: figures[name] for name in names}
            if self._kl_in_loss:
                metrics["kl_loss"] = figures["kl_loss"]
            metrics["grad_norm_policy"] = self._policy.step(rate)
        return metrics, ""

    def _with_gradient(self, part: batching.Indices, targets: Targets) -> batching.Indices:
        """Leave out the samples to which no loss gives a gradient: those of a flat group, say."""
        if self._critic is not None or self._kl_in_loss:
            return part
        moves = (targets.keep & (targets.advantages != 0)).any(dim=1).tolist()
        return tuple(i for i in part if moves[i])

    def _policy_loss(
        self, micro: MicroBatch, step: _Step, counts: _Counts, sums: UpdateSums
    ) -> Tensor:
        """Return this micro-batch's part of the loss to minimise; add its figures to `sums`."""
        place = (micro.samples, micro.offsets)
        temperatures = step.tensors.temperatures[micro.samples]
        logprobs, entropy = self._policy(**micro.policy_inputs(temperatures))
        if step.known.in_training:
            step.known.note(place, logprobs.detach(), entropy)
        old = step.known.old_logprobs[place]
        tokens = PolicyTokens(
            logprobs=logprobs,
            old_logprobs=old,
            advantages=step.targets.advantages[place],
            corrections=correction_weights(
                old, step.tensors.rollout_logprobs[place], micro.samples, self._learner
            ),
            keep=step.targets.keep[place],
            samples=micro.samples,
            weights=None if step.targets.weights is None else step.targets.weights[place],
        )
        objective = self._surrogate(tokens, self._learner)
        loss, clipped = policy_loss(tokens, objective, counts.normaliser)
        sums.add("policy_loss", loss)
        sums.add("clip_fraction", clipped / counts.kept)
        sums.add("approx_kl", kl_from_old(logprobs.detach(), old).sum() / counts.response)
        if self._kl_in_loss and step.known.reference_logprobs is not None:
            reference = step.known.reference_logprobs[place]
            estimator = ESTIMATORS[self._learner.kl_estimator_used]
            kl = reference_kl(logprobs, reference, counts.response, estimator)
            kl_loss = self._learner.kl_beta * kl
            sums.add("kl_loss", kl_loss)
            loss = loss + kl_loss
        return loss

    def _value_loss(
        self, critic: ZeroEngine, micro: MicroBatch, step: _Step, response: int, sums: UpdateSums
    ) -> Tensor:
        """Return this micro-batch's part of the critic's loss; add it to `sums` too."""
        if step.known.values is None or step.targets.returns is None:
            raise ValueError(f"learner.advantage = {self._learner.advantage} trains no critic")
        place = (micro.samples, micro.offsets)
        loss = self._learner.value_weight * value_loss(
            critic(**micro.critic_inputs()),
            step.known.values[place],
            step.targets.returns[place],
            value_clip=self._learner.value_clip,
            response_tokens=response,
        )
        sums.add("value_loss", loss)
        return loss

    def _micro_batches(
        self, part: batching.Indices, batch: Sequence[Trajectory], tokens: int
    ) -> list[MicroBatch]:
        """Return this rank's micro-batches, of so many tokens at most, on its device."""
        ranks = torch.distributed.get_world_size()
        learner = self._learner
        if learner.packing:
            budget = Budget(tokens=tokens, samples=learner.microbatch_samples)
            rows = balance.deal(part, batch, ranks=ranks, budget=budget, work=self._work)
        else:
            lengths = batching.lengths(batch)
            fitting = max(1, tokens // max((lengths[i] for i in part), default=1))
            together = min(fitting, learner.microbatch_samples or fitting)
            rows = batching.deal(part, lengths, ranks=ranks, microbatch_samples=together)
        pack = packing.pack if learner.packing else batching.pack
        return [pack(samples, batch, PAD_ID).to(self._device) for samples in rows[self._rank]]

    @property
    def _critic_alone(self) -> int:
        """The number of first steps that train the critic only."""
        return self._learner.critic_warmup_steps if self._critic is not None else 0

    def _warmup(self, steps_done: int) -> float:
        steps = self._learner.warmup_steps
        return min(1.0, (steps_done + 1) / steps) if steps else 1.0
