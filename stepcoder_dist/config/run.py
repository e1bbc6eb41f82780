"""A run file as one tree, and every check that spans its sections."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any

from pydantic import Field, model_validator

from stepcoder_dist import methods
from stepcoder_dist.config.commands import EvalConfig, SftConfig, TrainConfig
from stepcoder_dist.config.counts import NOTHING, TRAIN
from stepcoder_dist.config.hardware import HardwareConfig
from stepcoder_dist.config.learner import LearnerConfig, WeightsConfig
from stepcoder_dist.config.method import (
    CreditConfig,
    CurriculumConfig,
    RewardConfig,
    SamplingConfig,
)
from stepcoder_dist.config.model import ModelConfig
from stepcoder_dist.config.pools import ActorsConfig, SandboxConfig, splits_over
from stepcoder_dist.config.problems import ProblemsConfig, PromptConfig
from stepcoder_dist.config.section import PositiveFloat, Section, WrittenPath, divides
from stepcoder_dist.methods import Method
from stepcoder_dist.paths import runs_root


class RunConfig(Section):
    """One run: what every command reads."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), NOTHING]
    """Name of the run and its folders: letters, digits, `.`, `_`, `-`."""
    method: Annotated[Method, NOTHING] = methods.DEFAULT  # a name for what other keys say
    """A preset of `curriculum.kind`, `credit.rule`, `learner.advantage` and the learner's other
    rules (docs/methods.md, `stepcoder methods`). Keys written in the file override it;
    `--set method=…` overrides the file."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of every random choice: problems, samples, minibatches, new weights."""
    run_dir: Annotated[WrittenPath, NOTHING] = ""
    """Folder of the run. Empty: `runs/<name>`, or the next free `runs/<name>-2`, … `runs` is
    `$STEPCODER_RUNS` where that is set; in a Ray job its default is `~/stepcoder-runs`."""
    dashboard: Annotated[bool, NOTHING] = True
    """Start Ray's dashboard with a Ray of the run's own."""
    colocate: Annotated[bool, NOTHING] = False  # who waits for whom, not for what
    """Rollout actor i and learner rank i share a GPU: vLLM sleeps while the learner steps, and
    the push of the new weights wakes it. Needs `train.max_staleness = 0`."""
    deterministic: Annotated[bool, TRAIN] = False
    """With `train.max_staleness = k` above 0: two runs of one file on the CPU are equal bit for
    bit, and so is one that was interrupted and resumed, while rollouts and learner overlap. Step s
    is sampled by the weights of step s − 1 − k exactly, and each engine gets its share of a step in
    one piece: the engines idle at the end of a step. Needs `weights.on_update = "finish"` and
    `weights.transport = "object_store"`. Without staleness a run is repeatable anyway."""
    gpu_memory_gib: Annotated[PositiveFloat | None, NOTHING] = None
    """Memory of the GPUs the file is for; `--dry-run` compares its estimate with it."""
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
    hardware: HardwareConfig = HardwareConfig()

    @model_validator(mode="before")
    @classmethod
    def _method_fills_in(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return _with_transport(_with_normaliser_tokens(methods.filled_in(data)))

    @model_validator(mode="after")
    def _parts_fit(self) -> RunConfig:
        divides(self, "sampling.samples_per_problem", "learner.samples_per_step")
        if self.credit.rule != "all" and not self.sandbox.coverage:
            raise ValueError(
                "sandbox.coverage = false records no executed lines, and credit.rule = "
                f'"{self.credit.rule}" is made from them; set it to true, or the rule to "all"'
            )
        for key, then in (
            ("learner.advantage", "every advantage would be 0"),
            ("learner.selection", "no sample would carry loss"),
            ("learner.flat_groups", "every group would be flat"),
            ("reward.kind", "the weights would be its own"),
        ):
            chosen = attrgetter(key)(self)
            compares = methods.RULES[key][chosen].groups
            if compares and self.sampling.samples_per_problem == 1:
                raise ValueError(
                    f'sampling.samples_per_problem = 1 leaves {key} = "{chosen}" nothing '
                    f"to compare a sample with: {then}; sample at least 2"
                )
        if methods.REWARDS[self.reward.kind].groups and self.learner.flat_groups == "replace":
            raise ValueError(
                'learner.flat_groups = "replace" looks for groups that scored alike before '
                f'reward.kind = "{self.reward.kind}" compares them; set one of them otherwise'
            )
        if self.sampling.max_new_tokens >= self.model.max_tokens:
            raise ValueError(
                f"sampling.max_new_tokens = {self.sampling.max_new_tokens} leaves no room for a "
                f"prompt in model.max_tokens = {self.model.max_tokens}; lower it"
            )
        if self.actors.autoscale and self.train.max_staleness == 0:
            raise ValueError(
                "actors.autoscale = true follows who waits for whom, and with train.max_staleness "
                "= 0 rollout actors and learner take turns; set it to 1 or more, or scale by hand "
                "(`stepcoder scale`)"
            )
        for pool in ("actors", "learner"):
            gpus = getattr(self, pool).resources.num_gpus
            if self.weights.transport != "object_store" and gpus == 0:
                raise ValueError(
                    f'weights.transport = "{self.weights.transport}" needs GPUs on both sides, but '
                    f'{pool}.resources.num_gpus = 0; use "object_store"'
                )
        return self

    @model_validator(mode="after")
    def _gpus_are_whole(self) -> RunConfig:
        """Two processes on one GPU take turns with `colocate`, or fight for its memory."""
        for pool in ("actors", "learner"):
            gpus = getattr(self, pool).resources.num_gpus
            if not self.colocate and gpus % 1:
                raise ValueError(
                    f"{pool}.resources.num_gpus = {gpus:g} shares a GPU with other processes; set "
                    "colocate = true, or reserve entire GPUs"
                )
        shape = self.model.shape or self.model.tiny
        parallel = self.actors.tensor_parallel
        if shape is not None and not splits_over(shape.heads, shape.kv_heads, parallel):
            raise ValueError(
                f"actors.tensor_parallel = {parallel} does not split the model's {shape.heads} "
                f"heads and {shape.kv_heads} key-value heads evenly; choose a divisor of both"
            )
        return self

    @model_validator(mode="after")
    def _states_can_move(self) -> RunConfig:
        if not self.learner.offload_while_sampling:
            return self
        if not self.colocate:
            raise ValueError(
                "learner.offload_while_sampling leaves room to an actor on the same GPU, and "
                "colocate is false; leave it out"
            )
        if self.model.dtype == "bfloat16" and self.learner.zero_stage < 2:  # noqa: PLR2004
            raise ValueError(
                f"learner.offload_while_sampling with zero_stage = {self.learner.zero_stage} and "
                "bfloat16: DeepSpeed's optimizer cannot be moved there; set zero_stage to 2 or 3"
            )
        return self

    @model_validator(mode="after")
    def _colocation_fits(self) -> RunConfig:
        if not self.colocate:
            if self.weights.transport == "ipc":
                raise ValueError(
                    'weights.transport = "ipc" works within a GPU that actor and rank share; set '
                    'colocate = true, or use "nccl"'
                )
            return self
        if self.train.max_staleness > 0:
            raise ValueError(
                f"train.max_staleness = {self.train.max_staleness} lets actors sample while the "
                "learner steps, and with colocate = true they sleep then; set it to 0"
            )
        if self.weights.transport == "nccl":
            raise ValueError(
                'weights.transport = "nccl" cannot join two processes on one GPU, which colocate '
                '= true makes; use "ipc" or "object_store"'
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

    @model_validator(mode="after")
    def _determinism_fits(self) -> RunConfig:
        if self.deterministic and self.actors.autoscale:
            raise ValueError(
                "actors.autoscale = true resizes the pool by what a clock measures, and "
                "deterministic = true repeats a run bit for bit; set one of them to false"
            )
        if not self.deterministic or self.train.max_staleness == 0:
            return self
        if self.weights.on_update != "finish":
            raise ValueError(
                'weights.on_update = "continue" changes weights wherever a sample happens to be, '
                'and deterministic = true repeats it bit for bit; set it to "finish"'
            )
        if self.weights.transport != "object_store":
            raise ValueError(
                'weights.transport = "nccl" sends what the learner holds at that moment, and '
                "deterministic = true sends the weights of an earlier step; use "
                '"object_store"'
            )
        return self

    @property
    def lags(self) -> bool:
        """True: step s is sampled by version s − 1 − `max_staleness` exactly."""
        return self.deterministic and self.train.max_staleness > 0

    @property
    def samples_repeatably(self) -> bool:
        """True: batches in the engines have a composition that a second run repeats."""
        return self.deterministic or self.train.max_staleness == 0

    @property
    def choices(self) -> dict[str, str]:
        """What a method is a preset of, by dotted key, as this run has it."""
        pairs = (key.split(".") for key in methods.CHOICES)
        return {f"{part}.{name}": getattr(getattr(self, part), name) for part, name in pairs}

    @property
    def sft_folder(self) -> str:
        """Where the policy starts from and the reference stays."""
        if self.model.sft_path:
            return self.model.sft_path
        made = runs_root() / f"{self.name}-sft"
        return str(made.resolve()) if self.model.tiny else self.model.path

    @property
    def prompt_room(self) -> int:
        """Most tokens of a prompt with its given code, so that a completion has room after it."""
        return self.model.max_tokens - self.sampling.max_new_tokens

    @property
    def compares_groups(self) -> bool:
        """True: a rule compares the samples of a group, so a step takes complete groups only."""
        return self.learner.compares_groups or methods.REWARDS[self.reward.kind].groups

    @property
    def problems_per_step(self) -> int:
        return self.learner.samples_per_step // self.sampling.samples_per_problem

    def derived(self) -> dict[str, int]:
        """Return the batch sizes that follow from the rest, for `--dry-run`."""
        learner = self.learner
        per_rank = -(-learner.minibatch_samples // learner.ranks)
        return {
            "problems_per_step": self.problems_per_step,
            "minibatches_per_epoch": learner.samples_per_step // learner.minibatch_samples,
            "optimizer_updates_per_step": learner.epochs
            * (learner.samples_per_step // learner.minibatch_samples),
            "samples_per_rank_and_minibatch": per_rank,
            "tokens_of_a_pass_without_gradient": learner.tokens_without_gradient,
            "warm_containers": self.sandbox.number * self.sandbox.containers,
            "samples_in_run": learner.samples_per_step * self.train.steps,
        }


def _with_normaliser_tokens(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a run file's tree where a constant normaliser is the longest completion by default."""
    learner, sampling = tree.get("learner"), tree.get("sampling")
    most = sampling.get("max_new_tokens") if isinstance(sampling, dict) else None
    if not isinstance(learner, dict) or learner.get("normaliser") != "constant":
        return tree
    if most is None or "normaliser_tokens" in learner:
        return tree
    return {**tree, "learner": {**learner, "normaliser_tokens": most}}


def _with_transport(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a run file's tree with IPC where pairs share GPUs and it names no transport."""

    def gpus(pool: str) -> float:
        section = tree.get(pool)
        resources = section.get("resources") if isinstance(section, dict) else None
        number = resources.get("num_gpus") if isinstance(resources, dict) else None
        return number if isinstance(number, (int, float)) else 0

    weights = tree.get("weights", {})
    shared = tree.get("colocate") is True and gpus("actors") > 0 and gpus("learner") > 0
    if shared and isinstance(weights, dict) and "transport" not in weights:
        return {**tree, "weights": {**weights, "transport": "ipc"}}
    return tree
