"""What a run file can say: a frozen pydantic tree. Unknown keys are refused, units are in names.

`run_file.load` reads it from TOML. The docstrings of the keys are docs/config.md (`make docs`).
Imports nothing heavy: a mistake is refused before torch, ray or vllm are touched. Longer than other
files because it is one tree, read from top to bottom.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stepcoder_dist import methods
from stepcoder_dist.methods import Method
from stepcoder_dist.records import Limits
from stepcoder_dist.runs_root import runs_root

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

Backend = Literal["docker", "process"]
"""What may judge programs: warm containers, or plain processes of this machine, which are no
security boundary. `sandbox/backend.py` makes each, and says how to add one."""


def _divides(section: BaseModel, part: str, whole: str) -> None:
    small, large = _value(section, part), _value(section, whole)
    if large % small:
        divisors = [d for d in range(1, large + 1) if large % d == 0]
        near = sorted(sorted(divisors, key=lambda d: abs(d - small))[:2])
        raise ValueError(
            f"{part} = {small} does not divide {whole} = {large}; use {' or '.join(map(str, near))}"
        )


def _value(section: BaseModel, dotted: str) -> int:
    node: Any = section
    for name in dotted.split("."):
        node = getattr(node, name)
    return int(node)


class Section(BaseModel):
    # strict: "64" is no number and 1 no boolean; a mistyped value is refused, not guessed at
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _arrays_are_tuples(cls, data: Any) -> Any:
        """TOML knows arrays only; a frozen tree holds tuples."""
        if not isinstance(data, dict):
            return data
        return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}


VLLM_CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)


class ProcessResources(Section):
    """What Ray reserves for each process of a pool."""

    num_cpus: NonNegativeFloat = 1
    num_gpus: NonNegativeFloat = 0
    custom: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Custom Ray resources, to pin a pool to some nodes: `{ sandbox_node = 0.1 }`."""


class TinyModel(Section):
    """A randomly initialised Qwen2 with a tokenizer made for the ladder problems."""

    hidden_size: Positive = 128
    layers: Positive = 4
    heads: Positive = 4
    kv_heads: Positive = 4
    intermediate_size: Positive = 512
    max_positions: Positive = 2048

    @model_validator(mode="after")
    def _heads_fit(self) -> TinyModel:
        _divides(self, "heads", "hidden_size")
        _divides(self, "kv_heads", "heads")
        if self.hidden_size // self.heads not in VLLM_CPU_HEAD_SIZES:
            sizes = ", ".join(map(str, VLLM_CPU_HEAD_SIZES))
            raise ValueError(
                f"hidden_size = {self.hidden_size} over heads = {self.heads} gives a head of "
                f"{self.hidden_size // self.heads}; vLLM's CPU attention knows {sizes}"
            )
        return self


class ModelShape(Section):
    """What `config.json` says about a Llama-like decoder (gated MLP, RMSNorm). Used to estimate
    memory while the checkpoint is not on this machine; nothing else reads it."""

    hidden_size: Positive
    layers: Positive
    heads: Positive
    kv_heads: Positive
    intermediate_size: Positive
    vocabulary: Positive
    head_size: Positive | None = None
    """`head_dim`; not set: hidden_size / heads."""
    tied_embeddings: bool = False
    """`tie_word_embeddings`."""
    attention_bias: bool = False
    """Query, key and value have biases, as in Qwen2."""


class ModelConfig(Section):
    path: str = ""
    """Folder or hub name of the checkpoint that SFT starts from; empty: `tiny` is made."""
    tiny: TinyModel | None = None
    """Make a tiny model instead: the section below."""
    shape: ModelShape | None = None
    """Dimensions for estimates: the section below."""
    sft_path: str = ""
    """Folder of the SFT checkpoint: policy at version 0 and reference. Empty: `model.path`, or
    `runs/<name>-sft` where `tiny` is set."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    max_tokens: Positive = 2048
    """Prompt + given code + completion; also vLLM's context."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if bool(self.path) == (self.tiny is not None):
            seen = "both" if self.path else "neither"
            raise ValueError(f"needs either path or [model.tiny], and has {seen}; give one")
        if self.tiny is not None and self.tiny.max_positions < self.max_tokens:
            raise ValueError(
                f"max_tokens = {self.max_tokens} is above tiny.max_positions = "
                f"{self.tiny.max_positions}; lower it"
            )
        return self


class ProblemsConfig(Section):
    train: str
    """A file (JSON list or JSONL: our schema, APPS+, MBPP, HumanEval), an APPS folder, or
    `ladder:<split>` for the shipped set (splits: sft, train, heldout)."""
    heldout: str
    sft: str = ""
    """Problems for the warm start; empty: `train`."""
    sft_heldout: str = ""
    """Problems on whose references the warm start's loss is measured, never trained; empty:
    `heldout`, the set that evaluations use."""
    max_bad_share: Share = 0.0
    """Share of unusable rows that is tolerated (each is counted and named in the log)."""
    limit: Positive | None = None
    """Use the first N problems only."""


class PromptConfig(Section):
    """What the policy reads; the opening code fence follows, always (docs/evaluation.md)."""

    style: Literal["plain", "deepseek-instruct", "chat"] = "plain"
    """What stands around the task: nothing, the paper's instruction format, or what the
    checkpoint's own chat template makes of it."""
    task: Literal["statement", "humaneval", "humaneval-completion", "mbpp"] = "statement"
    """How a problem is put: its statement and starter code, or as is usual for the set; with
    `humaneval-completion` the statement is code after the fence, to go on with."""
    template: str = ""
    """Your own wording instead of `task`'s, with `{statement}` and `{starter_code}`."""
    system: str = ""
    """System message of a chat; empty: what the chat template has."""

    @model_validator(mode="after")
    def _has_statement(self) -> PromptConfig:
        if self.template and "{statement}" not in self.template:
            raise ValueError(
                f"template = {self.template!r} lacks {{statement}}; put it where the task belongs"
            )
        if self.template and self.task != "statement":
            raise ValueError(
                f"task = {self.task!r} and a template are two wordings; leave out one "
                "(--set prompt.template=)"
            )
        if self.system and self.style != "chat":
            raise ValueError(
                f'system = {self.system!r} is of a chat, and style = "{self.style}"; '
                'set style = "chat" or leave it out'
            )
        return self


class CurriculumConfig(Section):
    kind: Literal["cccs", "none", "fixed", "on_failure"] = "cccs"
    """Where the policy starts to write: after a prefix that shrinks as a problem is mastered; from
    nothing; at `fixed_stage`; after a prefix only while all of a problem's samples fail."""
    fixed_stage: Annotated[int, Field(ge=0)] | None = None
    """Of kind `fixed`, or a problem's easiest where it has fewer; not set: the easiest."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of the newest outcome in a problem's moving average (decision 0003)."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Advance when the average is above this."""
    group_update: Literal["mean", "each"] = "mean"
    """How a group of samples enters the average: once with its pass share, or one by one."""


class CreditConfig(Section):
    rule: Literal["executed", "all", "failing_tests"] = "executed"
    """Which completion tokens carry policy loss: those on executed lines (FGO); all; or, where
    their advantage is negative, those on lines that only failing tests executed, else the others
    that were executed."""
    comments: Literal["block", "keep", "mask"] = "block"
    """Comment and blank lines: follow the block they stand in, always kept, never kept."""
    prose: Literal["mask", "keep"] = "mask"
    """Tokens after the closing fence."""


class RewardConfig(Section):
    kind: Literal["tiered", "binary", "pass_ratio"] = "tiered"
    """By outcome: passed +1, wrong answer −0.3, error or limit −0.6, does not compile −1 (the
    paper's); 1 or 0; or by the share of tests passed, from −0.3 to 1 (decision
    0006)."""


class SamplingConfig(Section):
    samples_per_problem: Positive = 16
    temperature: PositiveFloat = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_new_tokens: Positive = 1024


class ActorsConfig(Section):
    """The rollout pool."""

    number: Positive = 1
    resources: ProcessResources = ProcessResources()
    tensor_parallel: Positive = 1
    kv_cache_gib: PositiveFloat = 1.0
    """Memory for vLLM's KV cache on the CPU."""
    gpu_memory_share: Annotated[float, Field(gt=0, lt=1)] = 0.9
    max_batch: Positive = 256
    """Sequences that one engine decodes together."""
    start_timeout_s: PositiveFloat = 300

    @model_validator(mode="after")
    def _gpus_fit(self) -> ActorsConfig:
        if self.resources.num_gpus > 1 and self.resources.num_gpus != self.tensor_parallel:
            raise ValueError(
                f"resources.num_gpus = {self.resources.num_gpus:g} of an actor is not "
                f"tensor_parallel = {self.tensor_parallel}; make them equal"
            )
        if self.tensor_parallel > max(self.resources.num_gpus, 1):
            raise ValueError(
                f"tensor_parallel = {self.tensor_parallel} needs that many GPUs, but "
                f"resources.num_gpus = {self.resources.num_gpus:g}; make them equal"
            )
        return self


class SandboxConfig(Section):
    """The pool of executors, each owning some warm containers."""

    number: Positive = 1
    resources: ProcessResources = ProcessResources()
    backend: Literal[Backend, "auto"] = "docker"
    """`auto`: docker where an engine answers, else plain processes (no security boundary)."""
    image: str = "stepcoder-sandbox:latest"
    """Any image with Python 3.12 or newer as `python3`: nothing of ours is in it."""
    packages: tuple[str, ...] = ()
    """Modules that programs may import beyond the standard library (`["numpy"]`): `doctor` checks
    that the image has them."""
    containers: Positive = 2
    """Warm containers of one executor."""
    cpu_limit_s: PositiveFloat = 4.0
    wall_limit_s: PositiveFloat = 10.0
    memory_limit_mib: Positive = 512
    output_limit_mib: Positive = 16
    processes: Positive = 32
    attempts: Positive = 3
    """Tries at a program when the sandbox itself fails."""
    coverage: bool = True
    """False: executed lines are not recorded, so there is no coverage mask and no
    coverage in an evaluation's table."""
    hash_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Python's `PYTHONHASHSEED` for the programs: fixed, so that a verdict can be repeated."""
    engine_wait_s: PositiveFloat = 120.0
    """How long to wait for a container engine that was there and is away, before programs fail."""
    start_timeout_s: PositiveFloat = 300
    """For an executor: to be placed by Ray and to have its containers up."""

    @model_validator(mode="after")
    def _wall_is_a_backstop(self) -> SandboxConfig:
        if self.wall_limit_s < self.cpu_limit_s:
            raise ValueError(
                f"wall_limit_s = {self.wall_limit_s} is below cpu_limit_s = {self.cpu_limit_s}; "
                "raise it: wall time is the back-stop"
            )
        return self

    @property
    def limits(self) -> Limits:
        return Limits(
            cpu_s=self.cpu_limit_s,
            wall_s=self.wall_limit_s,
            memory_bytes=self.memory_limit_mib * 2**20,
            output_bytes=self.output_limit_mib * 2**20,
            processes=self.processes,
            coverage=self.coverage,
        )


class LearnerConfig(Section):
    ranks: Positive = 1
    resources: ProcessResources = ProcessResources()
    threads: Positive | None = None
    """CPU threads of a rank; default: as many as `resources.num_cpus`, rounded down, at least 1."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    offload_optimizer: bool = False
    samples_per_step: Positive = 64
    minibatch_samples: Positive = 64
    """Samples of one optimiser update, over all ranks."""
    microbatch_samples: Positive = 8
    """Samples of one forward and backward pass on one rank."""
    epochs: Positive = 1
    """Passes over a step's samples."""
    advantage: Literal["gae", "grpo", "rloo"] = "gae"
    """GAE with a critic; or, without one, the score against its group's: normalised, with the KL
    penalty as a loss (`grpo`), or less the others' mean, with the KL inside the score (`rloo`)."""
    policy_lr: PositiveFloat = 5e-7
    critic_lr: PositiveFloat = 1.5e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    critic_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps that train the critic only; ignored where there is none, as are `critic_lr`,
    `value_clip`, `value_weight`, and the advantages' `gamma` and `gae_lambda`."""
    weight_decay: NonNegativeFloat = 0.0
    adam_betas: tuple[Share, Share] = (0.9, 0.95)
    """Of every optimiser, SFT's too."""
    max_grad_norm: PositiveFloat = 1.0
    kl_beta: NonNegativeFloat = 0.05
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    ratio_clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    value_clip: PositiveFloat = 0.2
    value_weight: PositiveFloat = 1.0
    correction_cap: PositiveFloat = 2.0
    """Cap of π_old/π_rollout, which multiplies the loss."""
    gradient_checkpointing: bool = False
    start_timeout_s: PositiveFloat = 600

    @model_validator(mode="after")
    def _batches_divide(self) -> LearnerConfig:
        _divides(self, "minibatch_samples", "samples_per_step")
        _divides(self, "ranks", "minibatch_samples")
        return self

    @property
    def has_critic(self) -> bool:
        """False: no critic is built, trained or saved."""
        return self.advantage == "gae"


class WeightsConfig(Section):
    transport: Literal["object_store", "nccl"] = "object_store"
    """Through Ray's object store, for any device; or NCCL from GPU to GPU."""
    bucket_mib: Positive = 256
    deadline_s: PositiveFloat = 120
    """For a push, with the wait until the engines have finished what they decode: with
    `max_staleness` that is a step's samples."""
    probe_tolerance: PositiveFloat = 0.1
    """Difference in log-prob, nats a token, between learner and actor after a push: the largest in
    float32, the mean in bfloat16."""


class TrainConfig(Section):
    steps: Positive = 100
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """A sample may be trained at most this many versions after the one that made it."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    """Steps between checkpoints; 0: only at the end."""
    detailed_samples: Annotated[int, Field(ge=0)] = 16
    """Samples of a step that samples.jsonl keeps whole (source, tokens, lines), evenly over the
    outcomes; of the others a short row. Steps whose number has more than two significant digits
    keep none, so that a long run's file stays small."""


class SftConfig(Section):
    phases: tuple[SftPhase, ...] = ()
    """Legs of a staged warm start, a `[[sft.phases]]` table each, in place of `epochs`."""
    batch_samples: Positive = 64
    """Examples of one optimiser update, over all ranks."""
    microbatch_samples: Positive = 8
    """Examples of one forward and backward pass on one rank; with `packing`, as many tokens as
    this times `model.max_tokens`."""
    packing: bool = True
    """Examples stand one after the other in one row, unpadded and unseen by each other. The
    gradients are the same; sums are formed in another order."""
    learning_rate: PositiveFloat = 2e-5
    epochs: PositiveFloat = 3
    """Passes over the problems; ignored where `phases` are given."""
    warmup_epochs: NonNegativeFloat = 0.3
    weight_decay: NonNegativeFloat = 0.0
    heldout_samples: Annotated[int, Field(ge=0)] = 256
    """Measure the loss on at most so many references of `problems.sft_heldout`: at the start and
    after each pass or phase. 0: do not."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    """Updates between checkpoints that `stepcoder sft --resume` goes on from; 0: only when a signal
    stops it."""


class SftPhase(Section):
    """One leg of a staged warm start."""

    steps: Positive
    learning_rate: PositiveFloat
    max_conditionals: Positive | None = None
    """Only problems whose reference has at most this many conditional statements."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0


class EvalConfig(Section):
    samples_per_problem: Positive = 1
    temperature: NonNegativeFloat = 0.2
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    k: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1,)

    @model_validator(mode="after")
    def _k_fits(self) -> EvalConfig:
        if max(self.k) > self.samples_per_problem:
            raise ValueError(
                f"k = {max(self.k)} needs at least that many samples_per_problem, which is "
                f"{self.samples_per_problem}; raise it or drop that k"
            )
        return self


class RunConfig(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Of the run and its folders: letters, digits, `.`, `_`, `-`."""
    method: Method = methods.DEFAULT
    """A preset of `curriculum.kind`, `credit.rule` and `learner.advantage` (docs/methods.md). Keys
    written in the file win over it; `--set method=…` wins over the file."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    run_dir: str = ""
    """Empty: `runs/<name>`, or the next free `runs/<name>-2`, … `runs` is `$STEPCODER_RUNS` where
    that is set; in a Ray job its default is `~/stepcoder-runs`."""
    dashboard: bool = True
    """Start Ray's dashboard with a Ray of the run's own."""
    colocate: bool = False
    """Rollout actor i and learner rank i share a GPU: vLLM sleeps while the learner steps, and
    the push of the new weights wakes it. Needs `train.max_staleness = 0`."""
    gpu_memory_gib: PositiveFloat | None = None
    """Memory of the GPUs that the file is written for: what `--dry-run` holds its estimate to."""
    model: ModelConfig
    problems: ProblemsConfig
    prompt: PromptConfig = PromptConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    credit: CreditConfig = CreditConfig()
    reward: RewardConfig = RewardConfig()
    sampling: SamplingConfig = SamplingConfig()
    actors: ActorsConfig = ActorsConfig()
    sandbox: SandboxConfig = SandboxConfig()
    learner: LearnerConfig = LearnerConfig()
    weights: WeightsConfig = WeightsConfig()
    train: TrainConfig = TrainConfig()
    sft: SftConfig = SftConfig()
    evaluation: EvalConfig = EvalConfig()

    @model_validator(mode="before")
    @classmethod
    def _method_fills_in(cls, data: Any) -> Any:
        return methods.filled_in(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _parts_fit(self) -> RunConfig:
        _divides(self, "sampling.samples_per_problem", "learner.samples_per_step")
        if self.credit.rule != "all" and not self.sandbox.coverage:
            raise ValueError(
                "sandbox.coverage = false records no executed lines, and credit.rule = "
                f'"{self.credit.rule}" is made from them; set it to true, or the rule to "all"'
            )
        if not self.learner.has_critic and self.sampling.samples_per_problem == 1:
            raise ValueError(
                f"sampling.samples_per_problem = 1 leaves learner.advantage = "
                f'"{self.learner.advantage}" nothing to compare a sample with: every advantage '
                "would be 0; sample at least 2"
            )
        if self.sampling.max_new_tokens >= self.model.max_tokens:
            raise ValueError(
                f"sampling.max_new_tokens = {self.sampling.max_new_tokens} leaves no room for a "
                f"prompt in model.max_tokens = {self.model.max_tokens}; lower it"
            )
        for pool in ("actors", "learner"):
            gpus = getattr(self, pool).resources.num_gpus
            if self.weights.transport == "nccl" and gpus == 0:
                raise ValueError(
                    'weights.transport = "nccl" needs GPUs on both sides, but '
                    f'{pool}.resources.num_gpus = 0; use "object_store"'
                )
        return self

    @model_validator(mode="after")
    def _colocation_fits(self) -> RunConfig:
        if not self.colocate:
            return self
        if self.train.max_staleness > 0:
            raise ValueError(
                f"train.max_staleness = {self.train.max_staleness} lets actors sample while the "
                "learner steps, and with colocate = true they sleep then; set it to 0"
            )
        if self.weights.transport == "nccl":
            raise ValueError(
                'weights.transport = "nccl" cannot join two processes on one GPU, which colocate '
                '= true makes; use "object_store"'
            )
        if self.actors.number != self.learner.ranks:
            raise ValueError(
                f"actors.number = {self.actors.number} is not learner.ranks = "
                f"{self.learner.ranks}, and colocate = true pairs them; make them equal"
            )
        actor, rank = self.actors.resources.num_gpus, self.learner.resources.num_gpus
        if (actor > 0) != (rank > 0) or actor + rank > 1:
            raise ValueError(
                f"actors.resources.num_gpus = {actor:g} and learner.resources.num_gpus = {rank:g} "
                "do not share one GPU, which colocate = true asks for; give 0.5 to each"
            )
        return self

    @property
    def choices(self) -> dict[str, str]:
        """What a method is a preset of, by dotted key, as this run has it."""
        values = (self.curriculum.kind, self.credit.rule, self.learner.advantage)
        return dict(zip(methods.CHOICES, values, strict=True))

    @property
    def sft_folder(self) -> str:
        """Where the policy starts from and the reference stays."""
        if self.model.sft_path:
            return self.model.sft_path
        made = runs_root() / f"{self.name}-sft"
        return str(made.resolve()) if self.model.tiny else self.model.path

    @property
    def problems_per_step(self) -> int:
        return self.learner.samples_per_step // self.sampling.samples_per_problem

    def derived(self) -> dict[str, int]:
        """The batch sizes that follow from the rest, for `--dry-run`."""
        learner = self.learner
        per_rank = learner.minibatch_samples // learner.ranks
        return {
            "problems_per_step": self.problems_per_step,
            "minibatches_per_epoch": learner.samples_per_step // learner.minibatch_samples,
            "optimizer_updates_per_step": learner.epochs
            * (learner.samples_per_step // learner.minibatch_samples),
            "samples_per_rank_and_minibatch": per_rank,
            "microbatches_per_rank_and_minibatch": -(-per_rank // learner.microbatch_samples),
            "warm_containers": self.sandbox.number * self.sandbox.containers,
            "samples_in_run": learner.samples_per_step * self.train.steps,
        }
