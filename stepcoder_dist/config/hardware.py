"""`[hardware]`: what the estimates of `--dry-run` are made for. It changes nothing in a run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stepcoder_dist.config.counts import NOTHING, Counts
from stepcoder_dist.config.section import Positive, PositiveFloat, Section

GpuName = Literal[
    "A100-40GB", "A100-80GB", "H100", "H200", "B200", "L40S", "L4", "A10G", "RTX-4090"
]


class HardwareConfig(Section):
    """The machines that a run file is written for, and the texts that it will see."""

    counts: ClassVar[Counts] = NOTHING

    gpu: GpuName | None = None
    """Fills in the next three from the maker's data sheet; without them no seconds are printed."""
    tflops: PositiveFloat | None = None
    """Dense bfloat16 peak of a GPU."""
    memory_gb_s: PositiveFloat | None = None
    link_gb_s: PositiveFloat | None = None
    """Rate from a GPU to the others of its node, in one direction."""
    gpus_per_node: Positive = 8
    network_gb_s: PositiveFloat = 50.0
    """Rate from a node to others, in one direction: 12.5 for 100 Gb/s Ethernet, 400 for eight
    400 Gb/s InfiniBand ports."""
    disk_gb_s: PositiveFloat = 1.0
    """Rate of the file system that checkpoints go to."""
    mfu: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of `tflops` that a learner's pass reaches."""
    prompt_tokens: Positive | None = None
    """Mean tokens of a prompt with given code; default: half of what `model.max_tokens` leaves."""
    completion_tokens: Positive | None = None
    """Mean tokens of a completion; default: half of `sampling.max_new_tokens`."""
    judge_s: PositiveFloat = 0.3
    """Mean seconds of a program in its container."""
