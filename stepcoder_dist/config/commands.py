"""`[train]`, `[sft]`, `[evaluation]`: what concerns one of the three commands alone."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from stepcoder_dist.config.counts import BITS, EVALUATION, NO, NOTHING, SFT, TRAIN, Counts
from stepcoder_dist.config.section import NonNegativeFloat, Positive, PositiveFloat, Section, Share


class TrainConfig(Section):
    counts: ClassVar[Counts] = TRAIN

    steps: Annotated[Positive, Counts(train=BITS, sft=NO, evaluation=NO, every_arm=True)] = 100
    max_staleness: Annotated[int, Field(ge=0)] = 0
    """A sample may be trained at most this many versions after the oldest weights that wrote one of
    its tokens. Above 0 rollouts and learner work at the same time."""
    checkpoint_every: Annotated[int, Field(ge=0), NOTHING] = 0
    """Steps between checkpoints; 0: only at the end."""
    keep_checkpoints: Annotated[int, Field(ge=0), NOTHING] = 0
    """Keep the newest so many checkpoints, and the best by held-out pass@1 (`evaluation.every`).
    0: keep all."""
    checkpoint_in_background: Annotated[bool, NOTHING] = True
    """Write a checkpoint while the next steps run, from a copy in the host's memory: as many bytes
    as the checkpoint, over the nodes of the ranks. false: the ranks write it before they step."""
    save_hf_every: Annotated[int, Field(ge=0), NOTHING] = 0
    """Steps between two writings of the policy as a Hugging Face folder, `hf/step_000010` in the
    run directory; 0: none."""
    detailed_samples: Annotated[int, Field(ge=0), NOTHING] = 16
    """Samples of a step that samples.jsonl keeps completely (source, tokens, lines), evenly over
    the outcomes. The others get a short row. Steps whose number has more than two significant
    digits keep none, so that a long run's file stays small."""
    stall_s: Annotated[PositiveFloat, NOTHING] = 7200
    """Seconds after which a run ends with an error when its loops wait for each other and no sample
    has been sampled, judged or trained. Time in which the learner works does not count."""
    trace: Annotated[bool, NOTHING] = True
    """Write what happened when into `trace.jsonl`, for `stepcoder trace`: about 200 bytes a
    sample."""
    report_every_s: Annotated[NonNegativeFloat, NOTHING] = 60
    """While the run lives, write `report.html` again after so many seconds at the earliest, in a
    process of its own; 0: only when the run ends. An open page follows by itself."""
    wandb_project: Annotated[str, NOTHING] = ""
    """Send the figures of every step to a run in this project of Weights & Biases, too. Empty: do
    not. Its own variables say how (`WANDB_MODE=offline`, `WANDB_API_KEY`)."""
    mlflow_experiment: Annotated[str, NOTHING] = ""
    """The same for this experiment of the MLflow server that `MLFLOW_TRACKING_URI` names."""


class SftPhase(Section):
    """One phase of a staged warm start."""

    counts: ClassVar[Counts] = SFT

    steps: Positive
    learning_rate: PositiveFloat
    max_conditionals: Positive | None = None
    """Only problems whose reference has at most this many conditional statements."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0


class SftConfig(Section):
    counts: ClassVar[Counts] = SFT

    phases: tuple[SftPhase, ...] = ()
    """Phases of a staged warm start, each a `[[sft.phases]]` table, instead of `epochs`."""
    batch_samples: Positive = 64
    """Examples of one optimizer update, over all ranks."""
    microbatch_samples: Annotated[Positive, Counts(train=NO, sft=BITS, evaluation=NO)] = 8
    """Examples of one forward and backward pass on one rank; with `packing`, as many tokens as
    this times `model.max_tokens`."""
    packing: Annotated[bool, Counts(train=NO, sft=BITS, evaluation=NO)] = True
    """Put several examples into one row without padding; they do not see each other. The gradients
    are the same; sums are formed in another order."""
    learning_rate: PositiveFloat = 2e-5
    epochs: PositiveFloat = 3
    """Passes over the problems; ignored where `phases` are given."""
    warmup_epochs: NonNegativeFloat = 0.3
    weight_decay: NonNegativeFloat = 0.0
    heldout_samples: Annotated[int, Field(ge=0), NOTHING] = 256
    """Measure the loss on at most this many references of `problems.sft_heldout`: at the start and
    after each pass or phase. 0: do not."""
    checkpoint_every: Annotated[int, Field(ge=0), NOTHING] = 0
    """Updates between checkpoints from which `stepcoder sft --resume` continues; 0: only when a
    signal stops it."""


class EvalConfig(Section):
    counts: ClassVar[Counts] = EVALUATION

    samples_per_problem: Positive = 1
    temperature: NonNegativeFloat = 0.2
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    k: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1,)
    # other prompts in the engines' prefix caches: the sums of what is sampled next may differ
    every: Annotated[int, Field(ge=0), Counts(train=BITS, sft=NO, evaluation=NO)] = 0
    """Learner steps between two evaluations during training, which also has one at its start and
    one at its end; 0: none. `stepcoder ablate` has a key of its own for it."""
    during: Annotated[Positive, Counts(train=BITS, sft=NO, evaluation=NO)] = 100
    """Evaluations during training ask at most so many held-out problems, spread over the set."""
    gap_alarm: Annotated[Share, NOTHING] = 0.1
    """Warn when the share of programs that only the weak tests of `problems.heldout_weak` pass has
    grown by more than this since the first evaluation."""

    @model_validator(mode="after")
    def _k_fits(self) -> EvalConfig:
        if max(self.k) > self.samples_per_problem:
            raise ValueError(
                f"k = {max(self.k)} needs at least that many samples_per_problem, which is "
                f"{self.samples_per_problem}; raise it or drop that k"
            )
        return self
