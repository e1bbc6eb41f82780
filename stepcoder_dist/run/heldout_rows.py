"""The rows of heldout.jsonl: one object for each evaluation during training, by step.

    {"step": 25, "problems": 100, "samples": 100, "pass_at_1": 0.41, "interval": [0.32, 0.51],
     "levels": {"interview": {"problems": 50, "pass_at_1": 0.3, "interval": [0.18, 0.42]}, ...},
     "outcomes": {"passed": 41, "wrong_answer": 59}, "faults": 0, "seconds": 21.4}

With weak tests (`problems.heldout_weak`) also, of the same programs:

     "weak": {"pass_at_1": 0.56, "gap": 0.15, "interval": [0.06, 0.24], "growth": 0.12}

`gap` is the weak tests' pass@1 less the held-out ones', `growth` what it has grown by since the
run's first evaluation.

`problems` have a judged sample, `samples` include those on which the sandbox failed (`faults`). A
score and its 95% interval are null where nothing was judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.paired_gain import paired_gain
from stepcoder_dist.evaluation.pass_at_k import LevelScore, scores
from stepcoder_dist.host.files import json_lines
from stepcoder_dist.host.files.json_file import is_figure
from stepcoder_dist.problems.levels import apps_level
from stepcoder_dist.records import LEVELS, WeightVersion

NAME = "heldout.jsonl"


def row_of(
    step: WeightVersion,
    samples: Sequence[EvaluatedSample],
    seconds: float,
    weakly: Sequence[EvaluatedSample] = (),
    first_gap: float | None = None,
) -> dict[str, Any]:
    """Return the row of the evaluation of a step's weights: plain JSON data.

    `weakly`: the same samples under weak tests; `first_gap`: that of the run's first evaluation.
    """
    *levels, total = scores(samples, (1,))
    return {
        "step": step,
        "problems": total.problems,
        "samples": total.samples,
        **_pass_at_1(total),
        "levels": {
            score.level: {"problems": score.problems, **_pass_at_1(score)} for score in levels
        },
        "outcomes": Counter(sample.outcome for sample in samples if sample.outcome is not None),
        "faults": total.faults,
        "seconds": round(seconds, 3),
        **(_weak(samples, weakly, first_gap) if weakly else {}),
    }


def _weak(
    samples: Sequence[EvaluatedSample],
    weakly: Sequence[EvaluatedSample],
    first_gap: float | None,
) -> dict[str, Any]:
    found = paired_gain(samples, weakly)
    if not found.problems:
        return {}
    growth = 0.0 if first_gap is None else found.gain - first_gap
    return {
        "weak": {
            "pass_at_1": found.after,
            "gap": found.gain,
            "interval": list(found.interval),
            "growth": growth,
        }
    }


def first_gap(path: Path) -> float | None:
    """Return the gap of the first evaluation in the file that has one."""
    gaps = (row["weak"]["gap"] for row in json_lines.rows(path) if "weak" in row)
    return next((float(gap) for gap in gaps), None)


def _pass_at_1(score: LevelScore) -> dict[str, Any]:
    return {"pass_at_1": score.pass_at.get(1), "interval": score.intervals.get(1)}


def figures_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores by their names in `metrics.METRICS`, without those that are no number."""
    levels = row.get("levels")
    by_level = levels if isinstance(levels, Mapping) else {}
    weak = row.get("weak")
    weak = weak if isinstance(weak, Mapping) else {}
    found = {
        "heldout/pass_at_1": row.get("pass_at_1"),
        "heldout/reward_gap": weak.get("gap"),
        "heldout/reward_gap_growth": weak.get("growth"),
    } | {
        f"heldout/pass_at_1/{level}": _together(
            [each for name, each in by_level.items() if apps_level(name) == level]
        )
        for level in LEVELS
    }
    return {name: float(score) for name, score in found.items() if is_figure(score)}


def _together(levels: Sequence[Any]) -> float | None:
    """Return the mean pass@1 over the problems of a source's levels that are one of APPS's."""
    scored = [
        (each.get("problems", 0), score)
        for each in levels
        if isinstance(each, Mapping) and isinstance(score := each.get("pass_at_1"), int | float)
    ]
    if len(scored) < 2:  # noqa: PLR2004 - one needs no mean, and keeps its bits
        return scored[0][1] if scored else None
    return float(sum(n * score for n, score in scored) / max(1, sum(n for n, _ in scored)))


def pass_at_1_by_step(path: Path) -> dict[WeightVersion, float | None]:
    """Return the score of every evaluation in the file; none where there is no file.

    Raises `ValueError` or `KeyError` for a file of something else.
    """
    return {int(row["step"]): row["pass_at_1"] for row in json_lines.rows(path)}
