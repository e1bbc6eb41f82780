"""`[curriculum]`, `[credit]`, `[reward]`, `[sampling]`: the method, but for the learner's part."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stepcoder_dist.config.counts import TRAIN, TRAIN_AND_EVALUATION, Counts
from stepcoder_dist.config.section import Positive, PositiveFloat, Section
from stepcoder_dist.methods import CreditRuleName, RewardName, StartRuleName


class CurriculumConfig(Section):
    counts: ClassVar[Counts] = TRAIN

    kind: StartRuleName = "cccs"
    """Where the policy starts to write: after a prefix that shrinks as a problem is mastered
    (`cccs`), … (docs/methods.md)."""
    fixed_stage: Annotated[int, Field(ge=0)] | None = None
    """Stage of kind `fixed`, or a problem's easiest where it has fewer; not set: the easiest."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of the newest outcome in a problem's moving average (decision 0003)."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Advance when the average is above this."""
    group_update: Literal["mean", "each"] = "mean"
    """How a group of samples enters the average: once with its pass share, or one by one."""


class CreditConfig(Section):
    counts: ClassVar[Counts] = TRAIN

    rule: CreditRuleName = "executed"
    """Which completion tokens carry policy loss: those on executed lines (FGO), all, …
    (docs/methods.md)."""
    comments: Literal["block", "keep", "mask"] = "block"
    """Comment and blank lines: follow the block that they are in, always kept, never kept."""
    prose: Literal["mask", "keep"] = "mask"
    """Tokens after the closing fence."""


class RewardConfig(Section):
    counts: ClassVar[Counts] = TRAIN

    kind: RewardName = "tiered"
    """By outcome: passed +1, wrong answer −0.3, error or limit −0.6, does not compile −1 (`tiered`,
    the paper's), … (docs/methods.md)."""


class SamplingConfig(Section):
    counts: ClassVar[Counts] = TRAIN

    samples_per_problem: Positive = 16
    temperature: PositiveFloat = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_new_tokens: Annotated[Positive, TRAIN_AND_EVALUATION] = 1024
