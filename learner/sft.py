"""The supervised warm start: reference solutions imitated on the learner's own engines.

await run_sft(config, phases, Path(config.sft_folder), base, on_step)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import ray

from learner.ranks import RankGroup
from learner.sft_worker import Phase, SftStep, SftWorker
from stepcoder_dist.config import RunConfig, SftConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.records import SftExample

STEPS_A_CALL = 4
"""Optimiser updates between two reports: few enough for a lively bar, enough to hide the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftProgress:
    """What a progress bar needs after each update."""

    phase: int
    step: int
    """1-based, over all phases."""
    steps: int
    """Of all phases."""
    last: SftStep


@dataclass(frozen=True, slots=True, kw_only=True)
class SftReport:
    """How the warm start ended."""

    steps: int
    final_loss: float
    """Of the last update's batch, nats a token."""
    heldout_loss: float | None
    """Mean over the held-out examples, nats a token; None without any."""


def plan(config: SftConfig, examples: Sequence[int], seed: int) -> tuple[Phase, ...]:
    """The phases as updates. `examples`: how many each phase has.

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
            microbatch_samples=config.microbatch_samples,
            seed=seed,
        )
        for number, (steps, warmup, rate) in enumerate(legs)
    )


async def run_sft(
    config: RunConfig,
    phases: Sequence[Sequence[SftExample]],
    out: Path,
    base: str,
    on_step: Callable[[SftProgress], None],
    heldout: Sequence[SftExample] = (),
) -> SftReport:
    """Train the Hugging Face checkpoint `base` and write `out`.

    Needs a running Ray. `phases` holds the examples of each of `sft.phases` (one list where there
    are none). `out` becomes an ordinary Hugging Face folder, whole or not at all, with a record of
    how it was made (`stepcoder.json`).
    """
    legs = plan(config.sft, [len(examples) for examples in phases], config.seed)
    total = sum(leg.steps for leg in legs)
    ranks = RankGroup(SftWorker, config, base, name="sft")
    done, last = 0, math.nan
    try:
        await ranks.start()
        for leg, examples in zip(legs, phases, strict=True):
            await ranks.call("begin", leg, ray.put(list(examples)))
            for first in range(0, leg.steps, STEPS_A_CALL):
                count = min(STEPS_A_CALL, leg.steps - first)
                for update in (await ranks.call("steps", first, count))[0]:
                    done, last = done + 1, update.loss
                    on_step(SftProgress(phase=leg.number, step=done, steps=total, last=update))
        loss = (await ranks.call("heldout_loss", ray.put(list(heldout))))[0] if heldout else None
        await ranks.call(
            "save_hf",
            str(out),
            {
                "made_by": "stepcoder sft",
                "seed": config.seed,
                "problems": config.problems.sft or config.problems.train,
                "prompt": config.prompt.template or config.prompt.task,
                "prompt_style": config.prompt.style,
                "base": config.model.tiny.model_dump() if config.model.tiny else config.model.path,
                "sft": config.sft.model_dump(mode="json"),
                "examples": [len(examples) for examples in phases],
                "updates": done,
                "final_loss": last,
                "heldout_loss": loss,
                "versions": {
                    name: version(name) for name in ("torch", "transformers", "deepspeed")
                },
            },
        )
    finally:
        await ranks.close()
    return SftReport(steps=done, final_loss=last, heldout_loss=loss)
