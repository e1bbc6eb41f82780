"""One rank of the PPO learner: a Ray actor that composes the pieces and knows their version."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from learner import policy_critic
from learner.batches import batching, packed_attention
from learner.batches.balance import Work
from learner.kernels import products
from learner.nonfinite import SkippedUpdates
from learner.ppo_step import PAD_ID, PpoStep
from learner.push.snapshot import SnapshotTaker
from learner.saving import checkpoint, hf_folder, manifest
from learner.saving.saving_rank import SavingRank
from learner.zero import zero_engine
from learner.zero.zero_engine import WithoutAdapters, ZeroEngine
from stepcoder_dist.host import free_memory
from stepcoder_dist.ports import WeightPublisher
from stepcoder_dist.records import (
    Int32Array,
    SftExample,
    StepReport,
    Trajectory,
    WeightSnapshot,
    WeightVersion,
)

ZERO_3 = 3
PACKING = "learner.packing"


class LearnerWorker(SavingRank):
    """Owns this rank's share of policy, critic (where there is one), reference and optimisers.

    Every method but `verify`, `vocabulary` and the last two of a checkpoint is a collective: all
    ranks are called with the same arguments.
    """

    def build(self) -> None:
        model, learner = self.config.model, self.config.learner
        folder, seed = self.checkpoint, self.config.seed
        self.version: WeightVersion = 0
        self.skipped_steps = self.nonfinite_steps = 0
        checkpointing = learner.gradient_checkpointing
        # one network after the other: what loading one needs for a moment is not needed twice
        policy = policy_critic.load_policy(
            folder, model, gradient_checkpointing=checkpointing, lora=learner.lora, seed=seed
        )
        self._pack(policy.causal_lm)
        self._choose_products(policy)
        vocabulary, work = policy.causal_lm.config.vocab_size, Work.of(policy.causal_lm.config)
        self.policy = ZeroEngine(policy, learner, model, weight_decay=learner.weight_decay)
        if learner.packing:
            packed_attention.check_apart(self.policy, vocabulary, folder, self.device, key=PACKING)
        self.critic = None
        if learner.has_critic:
            critic = policy_critic.load_critic(
                folder, model, gradient_checkpointing=checkpointing, lora=learner.lora, seed=seed
            )
            self._pack(critic.backbone)
            self._choose_products(critic)
            self.critic = ZeroEngine(critic, learner, model, weight_decay=learner.weight_decay)
        self.ppo = PpoStep(
            learner,
            policy=self.policy,
            critic=self.critic,
            reference=self._reference() if learner.has_reference else None,
            rank=self.rank,
            seed=seed,
            device=self.device,
            work=work,
        )
        self._snapshots: SnapshotTaker | None = None
        self._publisher: WeightPublisher | None = None
        self._make_room()

    def _make_room(self) -> None:
        """Leave the GPU to the rollout actor, but for what a push and a probe need."""
        if self.config.learner.offload_while_sampling:
            for engine in self.engines().values():
                engine.states.to_host()
        self._give_back()

    def _reference(self) -> Any:
        learner, model = self.config.learner, self.config.model
        if learner.lora is not None:
            # the policy as it was loaded: no second copy of its weights
            return WithoutAdapters(self.policy)
        frozen = policy_critic.load_reference(self.checkpoint, model)
        self._pack(frozen.causal_lm)
        self._choose_products(frozen)
        if learner.zero_stage == ZERO_3:
            return zero_engine.freeze_sharded(frozen, learner, model).to(self.device)
        return frozen.to(self.device)

    def _pack(self, network: Any) -> None:
        if self.config.learner.packing:
            packed_attention.install(network, self.checkpoint, key=PACKING)

    def _choose_products(self, network: torch.nn.Module) -> None:
        if self.config.learner.cpu_products == "onednn":
            products.install(network, self.device)

    def _take_room(self) -> None:
        """Have everything on the device that an update needs: the actor is at rest."""
        for engine in self.engines().values():
            engine.states.to_device()

    def _give_back(self) -> None:
        """Return what is kept for the next use: a rollout actor wakes up on this GPU or machine."""
        if self.device.type == "cpu":
            free_memory.give_back()
        elif self.config.colocate:
            torch.cuda.empty_cache()

    def step(self, batch: Sequence[Trajectory]) -> StepReport:
        """Run one PPO step; the version rises even when nothing changed.

        That is so when no token was kept, or an update was not finite.
        """
        self._take_room()
        updates = SkippedUpdates()
        metrics = self.ppo.run(batch, self.version, updates)
        skipped = metrics["kept_share"] == 0
        self._make_room()
        self.version += 1
        self.skipped_steps += skipped
        self.nonfinite_steps += bool(updates.why)
        metrics["skipped_steps"] = float(self.skipped_steps)
        metrics["nonfinite_steps"] = float(self.nonfinite_steps)
        return StepReport(
            version=self.version,
            skipped=skipped,
            metrics=metrics,
            not_finite=updates.why[0] if updates.why else "",
            untrained=updates.untrained,
        )

    def snapshot(self, probe_ids: Int32Array) -> WeightSnapshot | None:
        """Put the current weights into the object store; rank 0 returns where they are.

        Raises `WeightPushError` on every rank when they do not fit.
        """
        logprobs = self.probe_logprobs(probe_ids)
        if self._snapshots is None:
            self._snapshots = SnapshotTaker(*self._pushed)
        try:
            buckets = self._snapshots.take(self.version)
        finally:
            self._give_back()
        if self.rank != 0:
            return None
        return WeightSnapshot(version=self.version, buckets=buckets, probe_logprobs=tuple(logprobs))

    def push(self, targets: Sequence[Any], deadline_s: float) -> WeightVersion:
        """Send the current weights to every target. Raises `WeightPushError` on every rank."""
        if self._publisher is None:
            self._publisher = self._make_publisher()
        try:
            self._publisher.push(self.version, targets, deadline_s)
        finally:
            self._give_back()
        return self.version

    def _make_publisher(self) -> WeightPublisher:
        """Only where there is something to push to: these need vllm."""
        if self.config.weights.transport == "ipc":
            from learner.push.ipc_publisher import IpcPublisher

            return IpcPublisher(*self._pushed)
        from learner.push.nccl_publisher import NcclPublisher

        return NcclPublisher(*self._pushed)

    @property
    def _pushed(self) -> tuple[torch.nn.Module, int, int, int]:
        """What is pushed, and this rank's part in it: module, rank, ranks, bytes of a bucket."""
        bucket_bytes = self.config.weights.bucket_mib * 2**20
        return self.policy.module.causal_lm, self.rank, self.ranks, bucket_bytes

    @torch.no_grad()
    def probe_logprobs(self, token_ids: Int32Array) -> list[float]:
        """Return log-probs at temperature 1 of tokens 1…n−1, given the tokens before."""
        sample = SftExample(prompt_ids=token_ids[:1], completion_ids=token_ids[1:])
        micro = batching.pack((0,), [sample], PAD_ID).to(self.device)
        logprobs, _ = self.policy(**micro.policy_inputs())
        answers = [float(x) for x in logprobs]
        self._give_back()
        return answers

    def vocabulary(self) -> int:
        """Return the number of token ids that the policy knows."""
        return int(self.policy.module.causal_lm.config.vocab_size)

    def progress(self) -> tuple[WeightVersion, dict[str, int]]:
        counters = {"skipped_steps": self.skipped_steps, "nonfinite_steps": self.nonfinite_steps}
        return self.version, counters

    def verify(self, folder: str) -> None:
        """Raise `UserError` where the folder is no checkpoint of this run (on one rank only)."""
        manifest.verify(Path(folder), self.config)

    def load(self, folder: str) -> WeightVersion:
        """Resume where the checkpoint was taken."""
        self._take_room()
        saved = checkpoint.load(Path(folder), self.engines())
        self.version = saved.version
        self.skipped_steps = saved.counters["skipped_steps"]
        # older checkpoints do not have it
        self.nonfinite_steps = saved.counters.get("nonfinite_steps", 0)
        self._make_room()
        return self.version

    def save_hf(self, folder: str) -> None:
        """Write the policy as an ordinary Hugging Face folder with its tokenizer."""
        hf_folder.write(
            self.policy.module.causal_lm,
            self.checkpoint,
            Path(folder),
            rank=self.rank,
            lora=self.config.learner.lora,
        )

    def engines(self) -> dict[str, ZeroEngine]:
        engines = {"policy": self.policy, "critic": self.critic}
        return {name: engine for name, engine in engines.items() if engine is not None}
