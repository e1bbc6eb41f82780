"""The warm start as updates: its phases, which examples each update trains, when loss is measured.

Driver and ranks exchange these records, so nothing here needs torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcoder_dist.config import SftConfig
from stepcoder_dist.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of the warm start, in optimizer updates."""

    number: int
    steps: int
    warmup_steps: int
    learning_rate: float
    """The rate at the end of the warm-up; it falls linearly to 0 at the phase's last step."""
    batch_samples: int
    seed: int

    def learning_rate_at(self, step: int) -> float:
        """Return the rate: linear warm-up, then linear decay.

        `step` counts from 0 within the phase.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        return self.learning_rate * (self.steps - step) / max(self.steps - self.warmup_steps, 1)

    def samples_at(self, step: int, examples: int) -> tuple[int, ...]:
        """Return the examples of a step: a new shuffle for each pass, cut where batches end."""
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
    """The result of one optimizer update."""

    loss: float
    """Mean negative log-likelihood per completion token of the entire batch, in nats."""
    tokens_per_s: float
    """Prompt and completion tokens of the entire batch, padding not counted."""
    learning_rate: float
    grad_norm: float


def plan(config: SftConfig, examples: Sequence[int], seed: int) -> tuple[Phase, ...]:
    """Return the phases as updates. `examples`: how many each phase has.

    Without `sft.phases` there is one phase of `sft.epochs` passes. Raises `ConfigError` when the
    numbers of phases differ or a phase has no examples.
    """
    if len(examples) != max(len(config.phases), 1):
        raise ConfigError(
            f"{len(examples)} lists of examples for {len(config.phases)} sft.phases; "
            "give one for each"
        )
    for number, count in enumerate(examples):
        if count == 0:
            raise ConfigError(
                f"sft phase {number} has no example; raise its max_conditionals "
                "or check problems.sft"
            )
    legs = [(p.steps, p.warmup_steps, p.learning_rate) for p in config.phases]
    if not legs:
        a_pass = examples[0] / config.batch_samples
        warmup = round(config.warmup_epochs * a_pass)
        legs = [(max(1, math.ceil(config.epochs * a_pass)), warmup, config.learning_rate)]
    return tuple(
        Phase(
            number=number,
            steps=steps,
            warmup_steps=warmup,
            learning_rate=rate,
            batch_samples=config.batch_samples,
            seed=seed,
        )
        for number, (steps, warmup, rate) in enumerate(legs)
    )


def measured_after(config: SftConfig, legs: Sequence[Phase], examples: int) -> tuple[int, ...]:
    """Return the updates after which held-out loss is measured: each pass, or each of `sft.phases`.

    `examples`: how many a pass has, where there are no phases. 0 and the last update are in it.
    """
    ends = list(itertools.accumulate(leg.steps for leg in legs))
    if not config.phases:
        passes = range(1, math.ceil(config.epochs) + 1)
        ends += [math.ceil(number * examples / config.batch_samples) for number in passes]
    return tuple(sorted({0, *(end for end in ends if end <= ends[len(legs) - 1])}))
