"""Over-sampling: groups that all scored alike are dropped, and others sampled until a step is full.

    plan ──▶ sample ──▶ judge ──▶ flat groups? ── none, or no reserve left ──▶ the step is full
               ▲                      │
               └── groups of the ◀────┘ dropped, as `flat`
                   step's reserve

DAPO's dynamic sampling (arXiv 2503.14476, 3.2), in rounds: a round begins when all samples of the
one before are judged, so that the engines' batches have the same composition in every run. A step
has a reserve of groups, whose problems and stages are settled when it is planned. Its outcomes are
evidence for the curriculum, and are counted with the step that they were sampled for.

With P = 2 groups a step and `learner.max_oversampling = 2`, the reserve has 2 groups. If one of the
step's own is flat, the first of the reserve takes its place; if that is flat too, the second does;
if that is flat as well, the step trains with it, and `learner.selection` leaves it out of the loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stepcoder_dist.loop.judged_sample import JudgedSample

WHY = "flat"

Reserve = Sequence[tuple[str, int]]
"""Problem and stage of each group that may take the place of a flat one, in their order."""


def is_flat(group: Iterable[JudgedSample]) -> bool:
    """Return whether all rewards are the same in float32, as the learner sees them."""
    return len({float(np.float32(judged.trajectory.reward)) for judged in group}) == 1


@dataclass(slots=True)
class StepFill:
    """How far one step is filled."""

    reserve: Reserve = ()
    used: int = 0
    """Groups of the reserve that were planned."""
    full: bool = False
    """Nothing of it is replaced any more."""
    outcomes: list[tuple[str, int, tuple[bool, ...]]] = field(default_factory=list)
    """Of the dropped groups: problem, stage, who passed."""
    dropped: list[JudgedSample] = field(default_factory=list)
    """For the checkpoint of a step before it, which judges nothing twice."""


class Fills:
    """The steps that are planned and not trained, by number."""

    def __init__(self) -> None:
        self._steps: dict[int, StepFill] = {}
        self._kept: dict[str, JudgedSample] = {}
        """Samples that a checkpoint holds of groups that a resumed run plans again."""
        self.replaced = 0
        """Groups that were replaced for the step that was trained last."""

    def of(self, step: int) -> StepFill:
        return self._steps.setdefault(step, StepFill())

    def full(self, first: int, until: int) -> bool:
        """Return whether the steps first … until−1 are full."""
        return all(self.of(step).full for step in range(first, until))

    def trained(self, version: int) -> list[tuple[str, int, tuple[bool, ...]]]:
        """Forget the steps before `version`; return the outcomes of what was dropped of them."""
        outcomes = []
        for step in sorted(step for step in self._steps if step < version):
            outcomes += self._steps[step].outcomes
            # rollouts that run ahead may still sample for it
            fill = self._steps[step]
            fill.outcomes, fill.dropped = [], []
            if fill.full:
                fill.reserve = ()
        self.replaced = len(outcomes)
        return outcomes

    def dropped(self, until: int) -> list[JudgedSample]:
        """Return what was dropped of steps before `until`."""
        steps = [fill for step, fill in sorted(self._steps.items()) if step < until]
        return [judged for fill in steps for judged in fill.dropped]

    def keep(self, judged: JudgedSample) -> None:
        """Hold a sample of a checkpoint until its ticket is planned."""
        self._kept[judged.sample_id] = judged

    def kept(self, sample_ids: Iterable[str]) -> list[JudgedSample]:
        """Return the samples that are held, and hold them no longer."""
        held = (self._kept.pop(sample_id, None) for sample_id in sample_ids)
        return [judged for judged in held if judged is not None]

    def snapshot(self, open_steps: Iterable[int]) -> dict[str, Any]:
        """Return what a checkpoint holds, as plain JSON data."""
        with_open = set(open_steps)
        return {
            str(step): {
                "reserve": [list(each) for each in fill.reserve],
                "used": fill.used,
                "outcomes": [[problem, stage, list(p)] for problem, stage, p in fill.outcomes],
            }
            for step, fill in sorted(self._steps.items())
            if step in with_open or fill.outcomes
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self._steps = {
            int(step): StepFill(
                reserve=[(problem, stage) for problem, stage in saved["reserve"]],
                used=saved["used"],
                outcomes=[(problem, stage, tuple(p)) for problem, stage, p in saved["outcomes"]],
            )
            for step, saved in snapshot.items()
        }
