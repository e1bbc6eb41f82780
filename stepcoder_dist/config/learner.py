"""`[learner]` and `[weights]`: how the policy is updated, and how it reaches the actors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stepcoder_dist import methods
from stepcoder_dist.config.counts import BITS, NO, NOTHING, TRAIN, TRAIN_AND_SFT, Counts
from stepcoder_dist.config.lora import LoraConfig
from stepcoder_dist.config.pools import ProcessResources
from stepcoder_dist.config.section import (
    BelowOne,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Section,
    Share,
    divides,
)
from stepcoder_dist.methods import (
    AdvantageName,
    CorrectionName,
    LossName,
    NormaliserName,
    SelectionName,
)

_SAID_ELSEWHERE = {
    "train_batch_size": "learner.minibatch_samples",
    "train_micro_batch_size_per_gpu": "learner.microbatch_tokens",
    "gradient_accumulation_steps": "learner.minibatch_samples",
    "gradient_clipping": "learner.max_grad_norm",
    "gradient_allreduce_op": "the losses, which are sums over all ranks",
    "optimizer": "learner.policy_lr, critic_lr and adam_betas",
    "scheduler": "learner.warmup_steps",
    "fp16": "model.dtype",
    "bf16.enabled": "model.dtype",
    "bf16.check_grad_overflow": "learner.max_nonfinite_steps: such an update is always skipped",
    "zero_optimization.stage": "learner.zero_stage",
}
"""Keys of DeepSpeed's that the learner depends on, and what says them."""

_SUMS = Counts(train=BITS, sft=BITS, evaluation=NO)


class LearnerConfig(Section):
    counts: ClassVar[Counts] = TRAIN

    ranks: Annotated[Positive, _SUMS] = 1
    resources: ProcessResources = ProcessResources()
    threads: Annotated[Positive | None, _SUMS] = None
    """CPU threads of a rank; default: as many as `resources.num_cpus`, rounded down, at least 1."""
    zero_stage: Annotated[int, Field(ge=0, le=3), _SUMS] = 2
    """What DeepSpeed divides over the ranks: from 1 the optimizer's state, from 2 also gradients,
    at 3 also parameters. In bfloat16 0 means 1. In float32 `--resume` takes no other stage in place
    of 0, nor 0 in place of another."""
    offload_optimizer: Annotated[bool, TRAIN_AND_SFT] = False
    offload_while_sampling: Annotated[bool, NOTHING] = False
    """With `colocate`: from a step's end to the next step, optimizer states, float32 masters and
    gradients are in the host's memory, and the rollout actor has their room on the GPU."""
    deepspeed: Annotated[dict[str, Any], TRAIN_AND_SFT] = Field(default_factory=dict)
    """Merged over DeepSpeed's configuration of `learner/zero/deepspeed_config.py`:
    `{ zero_optimization = { zero_hpz_partition_size = 8 } }`. A key that the installed DeepSpeed
    does not know is refused when the ranks start."""
    samples_per_step: Annotated[Positive, Counts(sft=NO, evaluation=NO, every_arm=True)] = 64
    minibatch_samples: Positive = 64
    """Samples of one optimizer update, over all ranks."""
    microbatch_tokens: Annotated[Positive, Counts(train=BITS, sft=NO, evaluation=NO)] = 16384
    """Tokens of one forward and backward pass on one rank. With `packing` a prompt that samples
    share counts once; else every sample counts as the longest of its update."""
    forward_tokens: Annotated[Positive | None, Counts(train=BITS, sft=NO, evaluation=NO)] = None
    """Tokens of a pass without gradient; default: twice `microbatch_tokens`."""
    microbatch_samples: Annotated[Positive | None, Counts(train=BITS, sft=NO, evaluation=NO)] = None
    """At most so many samples in a pass, whatever their tokens."""
    packing: Annotated[bool, Counts(train=BITS, sft=NO, evaluation=NO)] = True
    """Put samples into one row without padding, and a prompt that some of them share once. False:
    pad them, for models that cannot keep packed samples apart."""
    epochs: Positive = 1
    """Passes over a step's samples."""
    advantage: AdvantageName = "gae"
    """GAE with a critic; or, without one, the score against its group's: normalised (`grpo`), less
    the others' mean (`rloo`), less the mean (`dr_grpo`), by the tree of the group's tokens
    (`tempo`); or the return normalised over the step (`reinforce_pp`). docs/methods.md."""
    loss: LossName = "ppo"
    """What a token's ratio and advantage are worth (docs/methods.md)."""
    normaliser: NormaliserName = "kept_tokens"
    """What the policy's loss is divided by: all kept tokens of an update; each sample's own and the
    number of samples; or samples times `normaliser_tokens`."""
    normaliser_tokens: Positive = 1024
    """Tokens of a sample for `normaliser = "constant"`. As many as `sampling.max_new_tokens`, where
    the file does not say."""
    selection: SelectionName = "all"
    """Samples without policy loss: those of groups that all scored the same (`drop_flat`), those
    that were cut off at `sampling.max_new_tokens` (`drop_overlong`), both (`dapo`). They count for
    advantages, and for critic and KL. For others in their place see `flat_groups`."""
    flat_groups: Literal["train", "replace"] = "train"
    """Groups whose samples all scored alike. `train`: trained as they are, with advantage 0.
    `replace`: groups of other problems are sampled until a step is full of groups that teach
    something (DAPO's dynamic sampling). The curriculum counts their outcomes all the same."""
    max_oversampling: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 3.0
    """With `flat_groups = "replace"`: the most that is sampled for a step, as a multiple of
    `samples_per_step`. What is flat then is trained with, and `selection` says how."""
    policy_lr: PositiveFloat = 5e-7
    critic_lr: PositiveFloat = 1.5e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    critic_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps that train the critic only; ignored where there is none, as are `critic_lr`,
    `value_clip`, `value_weight`, and the advantages' `gamma` and `gae_lambda`."""
    weight_decay: NonNegativeFloat = 0.0
    adam_betas: Annotated[tuple[BelowOne, BelowOne], TRAIN_AND_SFT] = (0.9, 0.95)
    """Betas of every optimizer, including SFT's."""
    max_grad_norm: Annotated[PositiveFloat, TRAIN_AND_SFT] = 1.0
    """Gradients are clipped to this norm, including SFT's."""
    kl_beta: NonNegativeFloat = 0.05
    """Weight of the KL to the reference; 0: no reference is loaded, and `kl_reference`
    is not measured."""
    kl_in: Literal["auto", "reward", "loss", "none"] = "auto"
    """Where the KL to the reference is: where the advantage's source has it, in the reward, in the
    loss, or nowhere."""
    kl_estimator: Literal["auto", "k1", "k2", "k3"] = "auto"
    """The estimate of a token's KL: `auto` is k1 in the reward and k3 as a loss."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """ε of the ratio's clip, both sides; the lower side of `clip_higher`."""
    ratio_clip_high: PositiveFloat = 0.28
    """The upper ε of losses `clip_higher` and `cispo`."""
    dual_clip: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 3.0
    """Loss `dual_clip`: the largest ratio that counts where the advantage is negative."""
    sequence_clip: tuple[Share, PositiveFloat] = (3e-4, 4e-4)
    """Loss `gspo`: lower and upper ε of a sequence's ratio."""
    value_clip: PositiveFloat = 0.2
    value_weight: PositiveFloat = 1.0
    correction: CorrectionName = "token"
    """How the loss is corrected for samples that π_old did not write: not at all, by the capped
    ratio π_old/π_rollout of a token or of a sequence, or by a token's ratio within floor and cap
    (`icepop`)."""
    correction_cap: PositiveFloat = 2.0
    """Cap of π_old/π_rollout, which multiplies the loss."""
    correction_floor: NonNegativeFloat = 0.5
    """Correction `icepop`: a token with a smaller ratio carries no loss, nor does one above the
    cap."""
    mismatch_alarm: Annotated[PositiveFloat, NOTHING] = 0.2
    """Mean difference of sampler's and learner's log-probs, nats a token, above which a warning is
    logged: in the first such step, and in every tenth after it."""
    max_nonfinite_steps: Annotated[Positive, NOTHING] = 3
    """Steps in a row with a loss or a gradient that is not finite after which the run ends. Such an
    update is skipped on all ranks and nothing changes; its samples are rejected, and the batch is
    kept in `nonfinite/` of the run directory (docs/faults.md)."""
    cpu_products: Annotated[Literal["onednn", "torch"], _SUMS] = "onednn"
    """What multiplies float32 matrices on a CPU: oneDNN, where torch was built with it, or what
    torch itself takes. It is twice as fast on AMD's processors with AVX-512, and forms sums in
    another order. Nothing changes in bfloat16 and on GPUs."""
    gradient_checkpointing: Annotated[bool, _SUMS] = False
    lora: LoraConfig | None = None
    """Train adapters instead of the weights: the section below. Not set: all weights."""
    start_timeout_s: Annotated[PositiveFloat, NOTHING] = 600
    silence_s: Annotated[PositiveFloat, NOTHING] = 180
    """Seconds after which a rank that lives and answers nothing counts as hung."""
    step_timeout_s: Annotated[PositiveFloat, NOTHING] = 7200
    """Seconds of a step, or of any other work of the ranks, after which they count as hung although
    they answer. A push and a start have deadlines of their own."""
    restarts: Annotated[int, Field(ge=0), NOTHING] = 3
    """How often in a row, without progress, the learner is started again from the newest checkpoint
    when a rank dies, hangs or fails. Without a checkpoint (`train.checkpoint_every`) the run ends
    instead."""

    @model_validator(mode="after")
    def _batches_divide(self) -> LearnerConfig:
        divides(self, "minibatch_samples", "samples_per_step")
        return self

    @model_validator(mode="after")
    def _deepspeed_is_left_what_is_its_own(self) -> LearnerConfig:
        for path, elsewhere in _SAID_ELSEWHERE.items():
            section, _, key = path.rpartition(".")
            table = self.deepspeed.get(section, {}) if section else self.deepspeed
            if isinstance(table, dict) and key in table:
                raise ValueError(
                    f"deepspeed.{path} = {table[key]!r} is decided by {elsewhere}; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _one_gpu_a_rank(self) -> LearnerConfig:
        if self.resources.num_gpus > 1:
            raise ValueError(
                f"resources.num_gpus = {self.resources.num_gpus:g} of a learner rank, which "
                "computes on one GPU; set it to 1 and raise ranks"
            )
        return self

    @model_validator(mode="after")
    def _kl_fits(self) -> LearnerConfig:
        if self.kl_place == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                'kl_estimator = "k1" as a loss has gradient 0 on average; use "k2" or "k3", or '
                'kl_in = "reward"'
            )
        return self

    @model_validator(mode="after")
    def _correction_fits(self) -> LearnerConfig:
        if self.correction == "icepop" and not self.correction_floor < self.correction_cap:
            raise ValueError(
                f"correction_floor = {self.correction_floor:g} is not below correction_cap = "
                f"{self.correction_cap:g}, so no token would carry loss; lower it"
            )
        return self

    @property
    def kl_place(self) -> str:
        """`reward`, `loss` or `none`: `kl_in` with `auto` resolved."""
        return methods.ADVANTAGES[self.advantage].kl_in if self.kl_in == "auto" else self.kl_in

    @property
    def kl_estimator_used(self) -> str:
        """`kl_estimator` with `auto` resolved."""
        if self.kl_estimator != "auto":
            return self.kl_estimator
        return "k3" if self.kl_place == "loss" else "k1"

    def kl_beta_in(self, place: Literal["reward", "loss"]) -> float:
        """`kl_beta` where the KL is in this place, else 0."""
        return self.kl_beta if self.kl_place == place else 0.0

    @property
    def tokens_without_gradient(self) -> int:
        """Most tokens of a pass without gradient."""
        return self.forward_tokens or 2 * self.microbatch_tokens

    @property
    def has_reference(self) -> bool:
        """False: the KL has no weight, and no reference is loaded or asked."""
        return self.kl_beta > 0 and self.kl_place != "none"

    @property
    def old_policy_in_training(self) -> bool:
        """True: the only training pass of a step finds π_old, since nothing asks for it before.

        Not where that pass drops a part of the adapters out: π_old is the entire policy.
        """
        one_update = self.epochs == 1 and self.samples_per_step <= self.minibatch_samples
        entire = self.lora is None or self.lora.dropout == 0
        return one_update and entire and self.kl_beta_in("reward") == 0

    @property
    def compares_groups(self) -> bool:
        """True: a rule compares the samples of a group, so a step takes complete groups only."""
        rules = (
            methods.ADVANTAGES[self.advantage],
            methods.SELECTIONS[self.selection],
            methods.FLAT_GROUPS[self.flat_groups],
        )
        return any(rule.groups for rule in rules)

    @property
    def has_critic(self) -> bool:
        """False: no critic is built, trained or saved."""
        return methods.ADVANTAGES[self.advantage].critic


class WeightsConfig(Section):
    # every way brings the same weights: the learner compares what arrived
    counts: ClassVar[Counts] = NOTHING

    transport: Literal["object_store", "nccl", "ipc"] = "object_store"
    """Through Ray's object store, for any device; over NCCL from GPU to GPU; over CUDA IPC within a
    GPU that actor and rank share, the default where `colocate` joins them."""
    on_update: Annotated[Literal["finish", "continue"], TRAIN] = "finish"
    """With `train.max_staleness`: what a push does to the samples that an engine decodes.
    `finish`: they end first, under the old weights, and the engine takes no others meanwhile.
    `continue`: the engine changes its weights between two steps and continues them under the new
    ones, so nothing waits. Their cached keys and values stay those of the old weights, which is an
    approximation. samples.jsonl has the oldest and the newest weights of each sample; the bound
    counts the oldest."""
    bucket_mib: Positive = 256
    deadline_s: PositiveFloat = 120
    """Seconds of a push. With `on_update = "finish"` that includes the wait until the engines have
    finished what they decode."""
    probe_tolerance: PositiveFloat = 0.1
    """Difference in log-prob, nats a token, between learner and actor after a push: the largest in
    float32, the mean in bfloat16."""
