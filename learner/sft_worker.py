"""One rank of the supervised warm start: the policy's engine, cross-entropy on the solution."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner import batching, hf_folder, policy_critic
from learner.batching import Indices
from learner.ppo_step import PAD_ID
from learner.rank import Rank
from learner.zero_engine import ZeroEngine
from stepcoder_dist.records import SftExample


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One leg of the warm start, in optimiser updates."""

    number: int
    steps: int
    warmup_steps: int
    learning_rate: float
    """At the end of the warm-up; falls linearly to 0 at the phase's last step."""
    batch_samples: int
    microbatch_samples: int
    seed: int

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up, then linear decay. `step` counts from 0 within the phase."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        return self.learning_rate * (self.steps - step) / max(self.steps - self.warmup_steps, 1)

    def samples_at(self, step: int, examples: int) -> Indices:
        """Which examples the step trains: a new shuffle for each pass, cut where batches end."""
        first = step * self.batch_samples
        wanted = range(first, first + self.batch_samples)
        passes = {i // examples for i in wanted}
        orders = {
            p: np.random.default_rng([self.seed, self.number, p]).permutation(examples)
            for p in passes
        }
        return tuple(int(orders[i // examples][i % examples]) for i in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class SftStep:
    """What one optimiser update did."""

    loss: float
    """Mean negative log-likelihood per completion token of the whole batch, in nats."""
    tokens_per_s: float
    """Prompt and completion tokens of the whole batch, without padding."""
    learning_rate: float
    grad_norm: float


class SftWorker(Rank):
    """Owns this rank's share of the policy and its optimiser. Every method is a collective."""

    def build(self) -> None:
        learner, model = self.config.learner, self.config.model
        self.policy = ZeroEngine(
            policy_critic.load_policy(
                self.checkpoint, model, gradient_checkpointing=learner.gradient_checkpointing
            ),
            learner,
            model,
            weight_decay=self.config.sft.weight_decay,
        )

    def begin(self, phase: Phase, examples: Sequence[SftExample]) -> None:
        """Take the examples of one phase; the optimiser's state goes on."""
        self.phase = phase
        self.examples = list(examples)
        self.lengths = batching.lengths(self.examples)

    def steps(self, first: int, count: int) -> list[SftStep]:
        """Do steps first … first+count−1 of the phase."""
        return [self._step(number) for number in range(first, first + count)]

    @torch.no_grad()
    def heldout_loss(self, examples: Sequence[SftExample]) -> float:
        """Mean negative log-likelihood per completion token, in nats."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self._deal(tuple(range(len(examples))), batching.lengths(examples)):
            total -= self._logprobs(part, examples).sum().double()
        torch.distributed.all_reduce(total)
        return float(total) / sum(len(e.completion_ids) for e in examples)

    def save_hf(self, folder: str, record: Mapping[str, Any]) -> None:
        """Write the policy as an ordinary Hugging Face folder with its tokenizer and its record."""
        hf_folder.write(
            self.policy.module.causal_lm,
            self.checkpoint,
            Path(folder),
            rank=self.rank,
            record=record,
        )

    def _step(self, number: int) -> SftStep:
        began = time.perf_counter()
        samples = self.phase.samples_at(number, len(self.examples))
        completion_tokens = sum(len(self.examples[i].completion_ids) for i in samples)
        parts = self._deal(samples, self.lengths)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for index, part in enumerate(parts):
            # divided by the count of the whole update: short answers weigh by their tokens only
            loss = -self._logprobs(part, self.examples).sum() / completion_tokens
            self.policy.backward(loss, last=index == len(parts) - 1)
            total += loss.detach().double()
        torch.distributed.all_reduce(total)
        rate = self.phase.learning_rate_at(number)
        norm = self.policy.step(rate)
        seconds = time.perf_counter() - began
        return SftStep(
            loss=float(total),
            tokens_per_s=sum(self.lengths[i] for i in samples) / seconds,
            learning_rate=rate,
            grad_norm=norm,
        )

    def _deal(self, samples: Indices, lengths: Sequence[int]) -> list[Indices]:
        plan = batching.deal(
            samples,
            lengths,
            ranks=self.ranks,
            microbatch_samples=self.config.sft.microbatch_samples,
        )
        return plan[self.rank]

    def _logprobs(self, part: Indices, examples: Sequence[SftExample]) -> Tensor:
        micro = batching.pack(part, examples, PAD_ID).to(self.device)
        logprobs, _ = self.policy(
            input_ids=micro.input_ids,
            rows=micro.rows,
            predictors=micro.predictors,
            token_ids=micro.token_ids,
            temperatures=torch.ones(len(micro.token_ids), device=self.device),
        )
        result: Tensor = logprobs
        return result
