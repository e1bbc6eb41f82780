"""Ablation files and results made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.ablation import plan as plans, result
from stepcoder_dist.ablation.plan import Plan
from stepcoder_dist.ablation.result import Evaluation, Measured, Result
from stepcoder_dist.host.files import output_file

RUN = """
name = "base"
[model]
path = "nowhere"
[problems]
train = "ladder:train?count=4"
heldout = "ladder:heldout?count=4"
[sampling]
samples_per_problem = 4
[learner]
samples_per_step = 16
minibatch_samples = 16
[train]
steps = 10
"""

ABLATION = """
name = "two"
run = "base.toml"
seeds = [0, 1]
eval_every = 5
reach = 0.5
[[settings]]
name = "plain"
about = "Nothing special."
[[settings]]
name = "short"
set = ["train.steps=5"]
[[arms]]
name = "a"
set = ['curriculum.kind="none"']
[[arms]]
name = "b"
"""


def load(folder: Path, text: str = ABLATION, run: str = RUN) -> Plan:
    """The plan of an ablation file, whose results go to `folder/out`."""
    folder.mkdir(exist_ok=True)
    (folder / "base.toml").write_text(run)
    file = folder / "two.toml"
    file.write_text(text.replace('run = "base.toml"', f'run = "base.toml"\nout = "{folder}/out"'))
    return plans.load(file)


PROBLEMS = ("p/1", "p/2", "p/3", "p/4")
LEVELS = ("introductory", "introductory", "interview", "competition")


def evaluation(step: int, passed: Sequence[float], passed_weak: Sequence[float] = ()) -> Evaluation:
    return Evaluation(
        step=step,
        samples=16 * step,
        passed=tuple(passed),
        passed_weak=tuple(passed_weak),
        outcomes={"passed": int(sum(passed)), "wrong_answer": 4 - int(sum(passed))},
    )


CURVE: Mapping[str, tuple[float | None, ...]] = {
    "step": (1.0, 2.0),
    "samples": (16.0, 32.0),
    "reward": (-0.3, 0.25),
    "mean_stage": (1.0, 0.5),
    "kept_share": (0.9, 0.8),
    "entropy": (0.5, 0.25),
    "whole_share": (0.0, 0.5),
    "whole_pass_rate": (None, 0.75),
}


def made(
    arm: str,
    seed: int | None,
    *evaluations: Evaluation,
    identity: Mapping[str, Any] | None = None,
    curve: Mapping[str, tuple[float | None, ...]] = CURVE,
) -> Result:
    return Result(
        setting="plain",
        arm=arm,
        method="",
        seed=seed,
        identity=identity or {"config": {}},
        measured=Measured(
            problems=PROBLEMS,
            levels=LEVELS,
            evaluations=evaluations,
            curve={} if seed is None else curve,
        ),
        made_on={
            "wall_s": 60.0,
            "commit": "0123456789abcdef",
            "dirty": False,
            "python": "3.11.2",
            "versions": {"torch": "2.13.0+cpu"},
            "processor": "a processor",
            "cores": 2,
            "load": 1.0,
        },
    )


def some_results(plan: Plan) -> list[Result]:
    """SFT passes one of four; arm a two at its end, arm b three, with two seeds each."""
    sft = evaluation(0, (1, 0, 0, 0), (1, 1, 0, 0))
    a = evaluation(5, (1, 0, 0, 0), (1, 1, 0, 0)), evaluation(10, (1, 1, 0, 0), (1, 1, 1, 1))
    b = evaluation(5, (1, 1, 0, 0), (1, 1, 0, 0)), evaluation(10, (1, 1, 1, 0), (1, 1, 1, 0))
    seeds = plan.file.seeds
    return [
        made("sft", None, sft),
        *(made("a", seed, *a) for seed in seeds),
        *(made("b", seed, *b) for seed in seeds),
    ]


def write(plan: Plan, results: Sequence[Result]) -> None:
    """Each to the place of its cell."""
    for each in results:
        cell = next(
            c
            for c in plan.cells
            if (c.setting.name, c.arm, c.seed) == (each.setting, each.arm, each.seed)
        )
        output_file.prepare(cell.path, result.FIX_OUT)
        result.write(cell.path, each)
