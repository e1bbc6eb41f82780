"""The results of one setting, arm by arm, as arrays for the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcoder_dist.ablation.plan import SFT, Plan
from stepcoder_dist.ablation.result import Evaluation, Result
from stepcoder_dist.ablation.statistics import Shares
from stepcoder_dist.problems.levels import ordered

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResults:
    """One arm under one setting."""

    arm: str
    method: str
    seeds: tuple[int, ...]
    """Seeds, ascending; (-1,) for SFT, which has none."""
    results: tuple[Result, ...]
    """Results by seed."""

    @property
    def last(self) -> list[Evaluation]:
        return [result.measured.evaluations[-1] for result in self.results]

    def shares(self, level: str = ALL, seeds: Sequence[int] | None = None) -> Shares:
        """float64 [S, P]: shares that passed at the end, of one level or of all."""
        return _of_level(self._chosen(seeds), [e.passed for e in self.last], self.levels, level)

    def weak_shares(self) -> Shares | None:
        """float64 [S, P]: the shares under the weak tests; None where the setting has none."""
        weak = [each.passed_weak for each in self.last]
        return np.array(weak) if all(weak) else None

    @property
    def levels(self) -> tuple[str, ...]:
        return self.results[0].measured.levels

    def _chosen(self, seeds: Sequence[int] | None) -> list[int]:
        if seeds is None:
            return list(range(len(self.results)))
        if self.arm == SFT:  # the same model for every seed of the other arm
            return [0] * len(seeds)
        return [self.seeds.index(seed) for seed in seeds]


def _of_level(
    rows: Sequence[int], passed: Sequence[Sequence[float]], levels: Sequence[str], level: str
) -> Shares:
    columns = [i for i, each in enumerate(levels) if level in (ALL, each)]
    return np.array([passed[row] for row in rows])[:, columns]


def by_arm(plan: Plan, results: Sequence[Result]) -> list[ArmResults]:
    """Return the arms that have a result, in the plan's order."""
    arms = []
    for name in plan.arms:
        found = sorted(
            (r for r in results if r.arm == name), key=lambda r: -1 if r.seed is None else r.seed
        )
        if found:
            arms.append(
                ArmResults(
                    arm=name,
                    method=found[0].method,
                    seeds=tuple(-1 if r.seed is None else r.seed for r in found),
                    results=tuple(found),
                )
            )
    return arms


def common_seeds(a: ArmResults, b: ArmResults) -> list[int]:
    """Return the seeds that both arms have; SFT is compared with each."""
    if SFT in (a.arm, b.arm):
        return list(b.seeds if a.arm == SFT else a.seeds)
    return sorted(set(a.seeds) & set(b.seeds))


def levels_of(arms: Sequence[ArmResults]) -> list[str]:
    """Return the levels that occur, from the easiest; then all."""
    present = {level for arm in arms for level in arm.levels}
    return [*ordered(present), ALL]
