"""What the results say: means with intervals, paired tests. Pure functions of arrays [S, P].

S seeds of one arm on the same P held-out problems; an entry is the share of a problem's programs
that passed. Seeds and problems are crossed, so the bootstrap draws both, each on its own, with
replacement: the interval covers other seeds and other problems of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ttest_1samp

from stepcoder_dist.evaluation.paired_gain import sign_test
from stepcoder_dist.evaluation.pass_at_k import BOOTSTRAP_DRAWS

Shares = npt.NDArray[np.float64]

_DIGITS = 9
"""Far finer than one program of one seed, far coarser than a float's last bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Arm B over arm A, seed by seed and problem by problem."""

    gain: Estimate
    seeds_better: int
    seeds_worse: int
    better: int
    worse: int
    """Problems, by their mean over the seeds."""
    p_problems: float
    """Two-sided exact sign test over the problems that differ. It takes the seeds as they are:
    alone it finds differences between arms that only drew better seeds."""
    p_seeds: float | None
    """Two-sided paired t test over the seeds. It takes the problems as they are. None: one
    seed, or no spread over them."""

    @property
    def p_value(self) -> float:
        """Of a gain that holds for other seeds and for other problems: the larger of the two (the
        intersection-union test, Berger 1982); 1 where nothing is known of the seeds' spread."""
        return 1.0 if self.p_seeds is None else max(self.p_problems, self.p_seeds)


def estimate(shares: Shares) -> Estimate:
    """Return the mean over [S, P] and its percentile interval.

    Fixed random numbers, so a table repeats.
    """
    seeds, problems = shares.shape
    rng = np.random.default_rng(0)
    drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), BOOTSTRAP_DRAWS) / seeds
    drawn = rng.multinomial(problems, np.full(problems, 1 / problems), BOOTSTRAP_DRAWS) / problems
    means = ((drawn_seeds @ shares) * drawn).sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean=float(shares.mean()), low=float(low), high=float(high))


def compare(a: Shares, b: Shares) -> Comparison:
    """Return the comparison of two [S, P] with the same seeds in rows and problems in columns."""
    gains = b - a
    # rounded: thirds and tenths that cancel leave 1e-17, which is neither a gain nor a loss
    by_seed, by_problem = (gains.mean(axis=axis).round(_DIGITS) for axis in (1, 0))
    better, worse = int((by_problem > 0).sum()), int((by_problem < 0).sum())
    return Comparison(
        gain=estimate(gains),
        seeds_better=int((by_seed > 0).sum()),
        seeds_worse=int((by_seed < 0).sum()),
        better=better,
        worse=worse,
        p_problems=sign_test(better, worse),
        p_seeds=t_test(by_seed),
    )


def t_test(gains: Shares) -> float | None:
    """p of a two-sided t test that the mean of gains [S] is 0; None where it knows nothing of their
    spread: S = 1, or a gain that is the same in all of a few seeds, as coarse shares can be."""
    if len(gains) == 1:
        return None
    if gains.std() == 0:
        return None if gains.any() else 1.0
    return float(ttest_1samp(gains, 0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment for testing several pairs (Holm 1979, Scand. J. Stat. 6:65)."""
    # scipy adjusts for the false discovery rate alone, not for the family-wise error
    p = np.asarray(p_values, float)
    order = p.argsort()
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]).clip(max=1)
    return [float(each) for each in adjusted]


def samples_to_reach(
    level: float, samples: Sequence[int], pass_at_1: Sequence[float]
) -> int | None:
    """Trained samples at the first evaluation that is at the level; None where none is."""
    reached = (n for n, score in zip(samples, pass_at_1, strict=True) if score >= level)
    return next(reached, None)
