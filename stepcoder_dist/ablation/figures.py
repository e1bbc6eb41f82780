"""The figures of one setting: a line for each arm, a band from its lowest to its highest seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepcoder_dist.ablation.arm_results import ArmResults, by_arm
from stepcoder_dist.ablation.plan import SFT, Plan
from stepcoder_dist.ablation.result import Result
from stepcoder_dist.ablation.svg_chart import Line, chart

CURVES = {
    "reward": ("Mean reward of the trained samples", False),
    "whole_pass_rate": ("Pass rate of the trained samples that are whole programs", True),
    "mean_stage": ("Mean curriculum stage (0: whole programs)", False),
    "kept_share": ("Share of sampled tokens that carry policy loss", True),
    "entropy": ("Entropy of the policy, nats a token", False),
}
"""By name in a result's curve: title, and whether it is a share."""

Point = tuple[float, float]


def figures(plan: Plan, results: Sequence[Result]) -> Iterator[tuple[str, str, str]]:
    """Yield file name without its end, title and SVG, of every figure that there is data for."""
    arms = by_arm(plan, results)
    start = next((arm for arm in arms if arm.arm == SFT), None)
    trained = [arm for arm in arms if arm.arm != SFT]
    # a place for each arm of the plan, so that an arm keeps its colour in every figure
    title = "pass@1 on the held-out problems"
    held_out = [_line(arm.arm, _held_out(arm, start)) for arm in _placed(plan, trained)]
    if any(line.x for line in held_out):
        yield "held-out", title, chart(title, "trained samples", held_out, percent=True)
    for name, (title, percent) in CURVES.items():
        lines = [_line(arm.arm, _curves(arm, name)) for arm in _placed(plan, trained)]
        if any(line.x for line in lines):
            yield name, title, chart(title, "trained samples", lines, percent=percent)


def _placed(plan: Plan, arms: Sequence[ArmResults]) -> list[ArmResults]:
    known = {arm.arm: arm for arm in arms}
    absent = (ArmResults(arm=a, method="", seeds=(), results=()) for a in plan.arms[1:])
    return [known.get(arm.arm, arm) for arm in absent]


def _held_out(arm: ArmResults, start: ArmResults | None) -> list[list[Point]]:
    """Return a curve for each seed, from the model before training."""
    before = [e for r in (start.results if start else ()) for e in r.measured.evaluations]
    return [
        [(e.samples, e.pass_at_1) for e in (*before, *result.measured.evaluations)]
        for result in arm.results
    ]


def _curves(arm: ArmResults, name: str) -> list[list[Point]]:
    curves = []
    for result in arm.results:
        curve = result.measured.curve
        pairs = zip(curve["samples"], curve.get(name, ()), strict=False)
        curves.append([(x, y) for x, y in pairs if x is not None and y is not None])
    return curves


def _line(name: str, curves: Sequence[Sequence[Point]]) -> Line:
    """Return the mean and range over the seeds, where every seed has a value."""
    tables = [dict(curve) for curve in curves]
    common = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    values = [[table[x] for table in tables] for x in common]
    return Line(
        name=name,
        x=common,
        y=[sum(each) / len(each) for each in values],
        low=[min(each) for each in values],
        high=[max(each) for each in values],
    )
