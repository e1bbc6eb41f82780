"""pass@k by level, and the outcomes that were no pass, from samples of complete programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.problems.levels import ordered
from stepcoder_dist.records import Outcome

BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelScore:
    """The scores of one level, or of all."""

    level: str
    problems: int
    """With a judged sample."""
    lost_problems: int
    """Without one: the sandbox failed on every sample. They count for nothing."""
    samples: int
    pass_at: dict[int, float]
    """Unbiased pass@k by k, mean over the problems with at least k judged samples. A k without
    such a problem is left out."""
    intervals: dict[int, tuple[float, float]]
    """95% bootstrap interval of pass@k by k, over the same problems."""
    problems_at: dict[int, int]
    """How many problems have at least k judged samples, by k: `problems`, or fewer where the
    sandbox failed on some samples."""
    outcomes: dict[Outcome, float]
    """Share of samples by outcome."""
    faults: int
    executed_share: float | None
    """Mean over the samples for which it is known."""

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the smallest k; (0, 0) where nothing was judged."""
        return self.intervals[min(self.intervals)] if self.intervals else (0.0, 0.0)


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return 1 − C(n−c, k)/C(n, k): Chen et al. 2021, arXiv 2107.03374, Eq. 1.

    Raises `ValueError` when k exceeds the number of samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples of a problem, not {samples}")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def scores(samples: Sequence[EvaluatedSample], ks: Sequence[int]) -> list[LevelScore]:
    """Return one row for each level that occurs, then one for all."""
    rows = [
        _score(level, members, ks)
        for level in ordered(sample.level for sample in samples)
        if (members := [s for s in samples if s.level == level])
    ]
    return [*rows, _score("all", samples, ks)]


def _score(level: str, samples: Sequence[EvaluatedSample], ks: Sequence[int]) -> LevelScore:
    judged = [sample for sample in samples if sample.outcome is not None]
    counts: dict[str, list[int]] = {}
    for sample in judged:
        count = counts.setdefault(sample.problem_id, [0, 0])
        count[0] += 1
        count[1] += sample.passed
    shares = [s.executed_share for s in samples if s.executed_share is not None]
    each = {k: np.array([pass_at_k(n, c, k) for n, c in counts.values() if n >= k]) for k in ks}
    return LevelScore(
        level=level,
        problems=len(counts),
        lost_problems=len({s.problem_id for s in samples}) - len(counts),
        samples=len(samples),
        pass_at={k: float(values.mean()) for k, values in each.items() if len(values)},
        intervals={k: interval_of_mean(values) for k, values in each.items() if len(values)},
        problems_at={k: len(values) for k, values in each.items()},
        outcomes={
            outcome: sum(s.outcome is outcome for s in judged) / max(len(judged), 1)
            for outcome in Outcome
        },
        faults=len(samples) - len(judged),
        executed_share=sum(shares) / len(shares) if shares else None,
    )


def interval_of_mean(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean over problems.

    The seed is fixed, so that a table can be reproduced.
    """
    if not len(values):
        return (0.0, 0.0)
    draws = np.random.default_rng(0).choice(values, size=(BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(draws.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
