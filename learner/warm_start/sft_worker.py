"""One rank of the supervised warm start: the policy's engine, cross-entropy on the solution."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learner import policy_critic, tiny_model
from learner.batches import balance, batching, packed_attention, packing
from learner.batches.balance import Budget, Work
from learner.batches.batching import Indices, MicroBatch
from learner.kernels import products
from learner.ppo_step import PAD_ID
from learner.saving import checkpoint, hf_folder, manifest
from learner.saving.saving_rank import SavingRank
from learner.warm_start.sft_plan import Phase, SftStep
from learner.zero.zero_engine import ZeroEngine
from stepcoder_dist.config.counts import fixed_for_sft
from stepcoder_dist.host import free_memory
from stepcoder_dist.records import SftExample, WeightVersion
from stepcoder_dist.sft.examples import SftExamples


class SftWorker(SavingRank):
    """Owns this rank's share of the policy and its optimiser.

    Every method but `verify` and the last two of a checkpoint is a collective.
    """

    def prepare(self) -> None:
        """Make the tiny model where the run file asks for one. Its tokenizer lies there already."""
        if tiny := self.config.model.tiny:
            base, dtype = Path(self.checkpoint), self.config.model.dtype
            tiny_model.create(tiny, base, base, seed=self.config.seed, dtype=dtype)

    def build(self) -> None:
        learner, model, sft = self.config.learner, self.config.model, self.config.sft
        self.updates: WeightVersion = 0
        policy = policy_critic.load_policy(
            self.checkpoint,
            model,
            gradient_checkpointing=learner.gradient_checkpointing,
            lora=learner.lora,
            seed=self.config.seed,
        )
        if sft.packing:
            packed_attention.install(policy.causal_lm, self.checkpoint, key="sft.packing")
        if learner.cpu_products == "onednn":
            products.install(policy, self.device)
        vocabulary = policy.causal_lm.config.vocab_size
        self.work = Work.of(policy.causal_lm.config)
        self.policy = ZeroEngine(policy, learner, model, weight_decay=sft.weight_decay)
        if sft.packing:
            packed_attention.check_apart(
                self.policy, vocabulary, self.checkpoint, self.device, key="sft.packing"
            )

    def take(self, examples: SftExamples) -> None:
        """Take the examples of every phase, and those that the loss is measured on."""
        self.examples = examples

    def steps(self, phase: Phase, first: int, count: int) -> list[SftStep]:
        """Do steps first … first+count−1 of the phase; the optimizer keeps its state."""
        done = [self._step(phase, number) for number in range(first, first + count)]
        self.updates += count
        if self.device.type == "cpu":
            free_memory.give_back()
        return done

    @torch.no_grad()
    def heldout_loss(self) -> float:
        """Return the held-out examples' mean negative log-likelihood, nats a completion token."""
        examples = self.examples.heldout
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self._deal(tuple(range(len(examples))), examples):
            total -= self._logprobs(part, examples).sum().double()
        torch.distributed.all_reduce(total)
        return float(total) / sum(len(e.completion_ids) for e in examples)

    def engines(self) -> dict[str, ZeroEngine]:
        return {"policy": self.policy}

    def progress(self) -> tuple[WeightVersion, dict[str, int]]:
        return self.updates, {}

    def verify(self, folder: str) -> None:
        """Check a checkpoint; raise `UserError` for an incomplete one. No collective."""
        manifest.verify(Path(folder), self.config, fixed_for_sft)

    def load(self, folder: str) -> None:
        """Resume from a verified checkpoint."""
        self.updates = checkpoint.load(Path(folder), self.engines()).version

    def save_hf(self, folder: str, record: Mapping[str, Any]) -> None:
        """Write the policy as an ordinary Hugging Face folder with its tokenizer and its record.

        The versions of the libraries that trained it are added to the record.
        """
        versions = {name: version(name) for name in ("torch", "transformers", "deepspeed")}
        hf_folder.write(
            self.policy.module.causal_lm,
            self.checkpoint,
            Path(folder),
            rank=self.rank,
            lora=self.config.learner.lora,
            record={**record, "versions": versions},
        )

    def _step(self, phase: Phase, number: int) -> SftStep:
        began = time.perf_counter()
        examples = self.examples.phases[phase.number]
        samples = phase.samples_at(number, len(examples))
        completion_tokens = sum(len(examples[i].completion_ids) for i in samples)
        parts = self._deal(samples, examples)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for index, part in enumerate(parts):
            # divided by the count of the entire update: short answers weigh by their tokens only
            loss = -self._logprobs(part, examples).sum() / completion_tokens
            self.policy.backward(loss, last=index == len(parts) - 1)
            total += loss.detach().double()
        torch.distributed.all_reduce(total)
        rate = phase.learning_rate_at(number)
        norm = self.policy.step(rate)
        seconds = time.perf_counter() - began
        return SftStep(
            loss=float(total),
            tokens_per_s=sum(batching.lengths([examples[i] for i in samples])) / seconds,
            learning_rate=rate,
            grad_norm=norm,
        )

    def _deal(self, samples: Indices, examples: Sequence[SftExample]) -> list[Indices]:
        together = self.config.sft.microbatch_samples
        if self.config.sft.packing:
            budget = Budget(tokens=together * self.config.model.max_tokens)
            # by place: an update that is larger than the set has examples twice
            drawn = [examples[i] for i in samples]
            places = balance.deal(
                tuple(range(len(drawn))), drawn, ranks=self.ranks, budget=budget, work=self.work
            )
            plan = [[tuple(samples[i] for i in part) for part in parts] for parts in places]
        else:
            lengths = {i: batching.lengths([examples[i]])[0] for i in samples}
            plan = batching.deal(samples, lengths, ranks=self.ranks, microbatch_samples=together)
        return plan[self.rank]

    def _pack(self, part: Indices, examples: Sequence[SftExample]) -> MicroBatch:
        if self.config.sft.packing:
            return packing.pack(part, examples, PAD_ID)
        return batching.pack(part, examples, PAD_ID)

    def _logprobs(self, part: Indices, examples: Sequence[SftExample]) -> Tensor:
        micro = self._pack(part, examples).to(self.device)
        logprobs, _ = self.policy(**micro.policy_inputs())
        result: Tensor = logprobs
        return result
