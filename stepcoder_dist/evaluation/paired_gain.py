"""The gain of one model over another on the same problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.pass_at_k import interval_of_mean, pass_at_k

SMALLEST_P = 0.001
"""A table says of a smaller p only that it is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedGain:
    """The differences of pass@k, problem by problem."""

    k: int
    problems: int
    """With at least k judged samples in both evaluations."""
    before: float
    after: float
    """pass@k over these problems."""
    gain: float
    """Mean difference of pass@k."""
    interval: tuple[float, float]
    """95% percentile bootstrap of `gain` over problems."""
    better: int
    worse: int
    p_value: float
    """Two-sided exact sign test over the problems that differ; 1 where none does."""

    @property
    def told_from_none(self) -> bool:
        """Whether the interval leaves 0 out."""
        low, high = self.interval
        return low > 0 or high < 0

    def __str__(self) -> str:
        low, high = (100 * end for end in self.interval)
        p = f"p = {self.p_value:.3f}" if self.p_value >= SMALLEST_P else f"p < {SMALLEST_P}"
        return (
            f"{100 * self.gain:+.1f} points (95% {low:+.1f} to {high:+.1f}) over {self.problems} "
            f"problems; {self.better} better, {self.worse} worse, sign test {p}"
        )


def paired_gain(
    before: Sequence[EvaluatedSample], after: Sequence[EvaluatedSample], k: int = 1
) -> PairedGain:
    """Compare two evaluations; a problem without k judged samples in each is left out."""
    old, new = _pass_at(before, k), _pass_at(after, k)
    both = sorted(old.keys() & new.keys())
    first, last = (np.array([each[name] for name in both]) for each in (old, new))
    gains = last - first
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    return PairedGain(
        k=k,
        problems=len(both),
        before=float(first.mean()) if both else 0.0,
        after=float(last.mean()) if both else 0.0,
        gain=float(gains.mean()) if both else 0.0,
        interval=interval_of_mean(gains),
        better=better,
        worse=worse,
        p_value=sign_test(better, worse),
    )


def sign_test(better: int, worse: int) -> float:
    """Return min(1, 2 · P[Binomial(n, ½) ≤ min(better, worse)]) with n = better + worse."""
    count = better + worse
    tail = sum(math.comb(count, k) for k in range(min(better, worse) + 1))
    p_value: float = min(1.0, 2 * tail / 2**count)
    return p_value


def _pass_at(samples: Sequence[EvaluatedSample], k: int) -> dict[str, float]:
    passed: dict[str, list[bool]] = {}
    for sample in samples:
        if sample.outcome is not None:
            passed.setdefault(sample.problem_id, []).append(sample.passed)
    return {
        name: pass_at_k(len(each), sum(each), k) for name, each in passed.items() if len(each) >= k
    }
