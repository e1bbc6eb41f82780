"""`[learner.lora]`: adapters that are trained instead of the weights."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from stepcoder_dist.config.counts import TRAIN_AND_SFT, Counts
from stepcoder_dist.config.section import Positive, PositiveFloat, Section


class LoraConfig(Section):
    """Low-rank adapters of policy and critic (docs/lora.md). Actors get merged weights."""

    counts: ClassVar[Counts] = TRAIN_AND_SFT

    rank: Positive = 16
    """Rank of what an adapter adds to a layer's weight: the width of its two matrices."""
    alpha: PositiveFloat = 32
    """An adapter's product is multiplied by alpha / rank."""
    targets: tuple[str, ...] = ()
    """Linear layers that get an adapter, by the last parts of their names (`q_proj`,
    `mlp.down_proj`); empty: all but the output layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an adapter's inputs that a training pass leaves out."""
