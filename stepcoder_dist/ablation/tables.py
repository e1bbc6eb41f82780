"""The tables of one setting, as lines of Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from stepcoder_dist.ablation.arm_results import ArmResults, by_arm, common_seeds, levels_of
from stepcoder_dist.ablation.plan import SFT, Plan
from stepcoder_dist.ablation.result import Result
from stepcoder_dist.ablation.statistics import (
    Comparison,
    Estimate,
    compare,
    estimate,
    holm,
    samples_to_reach,
)
from stepcoder_dist.evaluation.paired_gain import SMALLEST_P
from stepcoder_dist.evaluation.pass_at_k import BOOTSTRAP_DRAWS

ABOUT_SCORES = f"""\
**pass@1** in % on the held-out problems (how many of each level) after the last step. In brackets
the 95% interval: {BOOTSTRAP_DRAWS} bootstrap draws of seeds and, independently, of problems (they
are crossed), so it covers other seeds and other problems of the kind.

"""
ABOUT_GRID = """\
**Table of rules.** pass@1 in % over all held-out problems with its interval, as above.

"""
ABOUT_TRAINING = """\
**Tests and training.** Weak tests: pass@1 in % of the same programs under tests like the training
ones. Wrong but passed: the share of those passes, in %, that the held-out tests refuse. Mean stage,
kept share and entropy: at the last step, mean over seeds. Samples to {reach:.0%}: trained samples
at the first evaluation with that pass@1, median over seeds (how many got there). Seconds: median
wall time of a cell.

"""
ABOUT_PAIRS = """\
**Paired** by seed and problem.

* Gain: of pass@1 in points, with its 95% interval (the same bootstrap, of the differences).
* Seeds and problems: how many are better / worse (problems by the mean over seeds).
* p over seeds: a paired t test, which takes these problems as given. p over problems: the exact
  sign test, which takes these seeds as given. Both are two-sided.
* p (Holm): the larger of the two, for a gain that holds for other seeds and other problems. It is
  adjusted for the number of planned pairs.

"""
PAIR_HEADS = ("B over A", "seeds", "gain", "seeds ±", "problems ±")


def tables(plan: Plan, results: Sequence[Result]) -> list[str]:
    """Return the tables of scores, of training, and of the paired tests."""
    arms = by_arm(plan, results)
    return [*_scores(arms), *_grid(plan, arms), *_training(plan, arms), *_pairs(plan, arms)]


def _scores(arms: Sequence[ArmResults]) -> list[str]:
    levels = levels_of(arms)
    rows = []
    for arm in arms:
        seeds = "–" if arm.arm == SFT else str(len(arm.seeds))
        cells = [_interval(estimate(arm.shares(level))) for level in levels]
        rows.append([_name(arm), seeds, *cells])
    problems = [arms[0].levels.count(level) for level in levels[:-1]]
    counted = [f"{level} ({n})" for level, n in zip(levels, problems, strict=False)]
    return [
        *ABOUT_SCORES.splitlines(),
        *_table(["arm", "seeds", *counted, f"all ({sum(problems)})"], rows),
    ]


def _grid(plan: Plan, arms: Sequence[ArmResults]) -> list[str]:
    """Return pass@1 of the grid's arms, with the last axis across.

    Nothing without a grid of at least two axes, or where none of its arms has a result.
    """
    known = {arm.arm: _interval(estimate(arm.shares())) for arm in arms}
    *down, across = [axis.values for axis in plan.file.grid] or [()]
    rows = []
    for row in product(*down) if down else ():
        cells = [known.get("-".join((*row, value)), "–") for value in across]
        if any(cell != "–" for cell in cells):
            rows.append([*row, *cells])
    if not rows:
        return []
    heads = [axis.key for axis in plan.file.grid[:-1]]
    return [*ABOUT_GRID.splitlines(), *_table([*heads, *across], rows)]


def _training(plan: Plan, arms: Sequence[ArmResults]) -> list[str]:
    rows = []
    for arm in arms:
        weak = arm.weak_shares()
        wrong = "–" if weak is None else _wrongly_rewarded(weak, arm.shares())
        weakly = "–" if weak is None else f"{100 * weak.mean():.1f}"
        curves = [result.measured.curve for result in arm.results]
        ends = [
            "–" if arm.arm == SFT else _last(curves, name, digits)
            for name, digits in (("mean_stage", 2), ("kept_share", 3), ("entropy", 3))
        ]
        reached = "–" if arm.arm == SFT else _reached(plan, arm)
        seconds = np.median([result.made_on["wall_s"] for result in arm.results])
        rows.append([_name(arm), weakly, wrong, *ends, reached, f"{seconds:.0f}"])
    heads = ["arm", "weak tests", "wrong but passed", "mean stage", "kept share", "entropy"]
    return [
        *ABOUT_TRAINING.format(reach=plan.file.reach).splitlines(),
        *_table([*heads, f"samples to {plan.file.reach:.0%}", "seconds"], rows),
    ]


def _pairs(plan: Plan, arms: Sequence[ArmResults]) -> list[str]:
    known = {arm.arm: arm for arm in arms}
    tested: list[tuple[str, Comparison, int]] = []
    pairs = plan.pairs(arms[0].results[0].setting)
    for a, b in pairs:
        seeds = common_seeds(known[a], known[b]) if a in known and b in known else []
        if seeds:
            shares = (known[name].shares(seeds=seeds) for name in (a, b))
            tested.append((f"{b} over {a}", compare(*shares), len(seeds)))
    if not tested:
        return []
    # pairs without a result count too: a first result is not the only one planned
    waiting = [1.0] * (len(pairs) - len(tested))
    adjusted = holm([*(comparison.p_value for _, comparison, _ in tested), *waiting])
    rows = [
        [
            name,
            str(seeds),
            _interval(comparison.gain, signed=True),
            f"{comparison.seeds_better} / {comparison.seeds_worse}",
            f"{comparison.better} / {comparison.worse}",
            "–" if comparison.p_seeds is None else _p(comparison.p_seeds),
            _p(comparison.p_problems),
            _p(holms),
        ]
        for (name, comparison, seeds), holms in zip(tested, adjusted, strict=False)
    ]
    return [
        *ABOUT_PAIRS.splitlines(),
        *_table([*PAIR_HEADS, "p over seeds", "p over problems", "p (Holm)"], rows),
    ]


def _name(arm: ArmResults) -> str:
    same = arm.method in ("", arm.arm)
    return arm.arm if same else f"{arm.arm} (`{arm.method}`)"


def _interval(value: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    numbers = (f"{100 * each:{sign}.1f}" for each in (value.mean, value.low, value.high))
    return "{} ({} to {})".format(*numbers)


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= SMALLEST_P else f"< {SMALLEST_P}"


def _wrongly_rewarded(weak: np.ndarray, strong: np.ndarray) -> str:
    """Return the share, in %, of programs that pass the weak tests and fail the held-out tests."""
    passed = weak.sum()
    return f"{100 * (1 - np.minimum(weak, strong).sum() / passed):.1f}" if passed else "–"


def _last(curves: Sequence[Mapping[str, tuple[float | None, ...]]], name: str, digits: int) -> str:
    values = [v for curve in curves if (v := curve.get(name, (None,))[-1]) is not None]
    return f"{np.mean(values):.{digits}f}" if values else "–"


def _reached(plan: Plan, arm: ArmResults) -> str:
    found = []
    for result in arm.results:
        evaluations = result.measured.evaluations
        scores = [e.pass_at_1 for e in evaluations]
        found.append(samples_to_reach(plan.file.reach, [e.samples for e in evaluations], scores))
    median = np.median([math.inf if n is None else n for n in found])
    shown = f"{median:.0f}" if median < math.inf else "not reached"
    return f"{shown} ({sum(n is not None for n in found)} of {len(found)})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
