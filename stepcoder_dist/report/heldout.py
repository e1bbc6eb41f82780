"""Held-out scores of a run: by evaluation and level, and the gain from the first to the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.file import sample_of
from stepcoder_dist.evaluation.paired_gain import paired_gain
from stepcoder_dist.evaluation.pass_at_k import LevelScore, scores

Row = Mapping[str, Any]


def heldout(evaluations: Mapping[str, Sequence[Row]], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the page's object about held-out scores.

    Its tables are empty where nothing was evaluated.
    """
    samples = {
        label: parsed
        for label, rows in evaluations.items()
        if (parsed := [sample for row in rows if (sample := _sample(row)) is not None])
    }
    tables = {label: scores(of_label, _ks(of_label, config)) for label, of_label in samples.items()}
    levels = list(dict.fromkeys(score.level for table in tables.values() for score in table))
    if len(set(levels) - {"all"}) == 1:
        levels.remove("all")  # it would repeat the level
    labels = list(tables)
    return {
        "labels": labels,
        "rows": [
            {"level": level, "label": label, **_row(score)}
            for level in levels
            for label in labels
            for score in tables[label]
            if score.level == level
        ],
        "gains": [
            {"level": level, **gain}
            for level in levels
            if len(labels) > 1
            and (gain := _gain(samples[labels[0]], samples[labels[-1]], level)) is not None
        ],
    }


def _sample(row: Row) -> EvaluatedSample | None:
    """Return the sample of a row; None for a row that is not of the expected kind."""
    try:
        return sample_of(row)
    except (KeyError, ValueError):
        return None


def _ks(samples: Sequence[EvaluatedSample], config: Mapping[str, Any]) -> list[int]:
    """Return the k of the run for which every problem has enough judged samples; 1 always."""
    judged = Counter(s.problem_id for s in samples if s.outcome is not None)
    section = config.get("evaluation")
    asked = section.get("k", [1]) if isinstance(section, Mapping) else [1]
    most = min(judged.values(), default=1)
    return sorted({1, *(k for k in asked if isinstance(k, int) and 1 <= k <= most)})


def _row(score: LevelScore) -> dict[str, Any]:
    return {
        "problems": score.problems,
        "samples": score.samples,
        "pass_at": {str(k): round(value, 4) for k, value in score.pass_at.items()},
        "interval": [round(bound, 4) for bound in score.interval],
        "outcomes": {str(o): round(share, 4) for o, share in score.outcomes.items() if share},
        "faults": score.faults,
    }


def _gain(
    before: Sequence[EvaluatedSample], after: Sequence[EvaluatedSample], level: str
) -> dict[str, Any] | None:
    """Return the mean difference of pass@1 over the problems of both, with its 95% interval."""
    found = paired_gain(_of_level(before, level), _of_level(after, level))
    if not found.problems:
        return None
    return {
        "problems": found.problems,
        "mean": round(found.gain, 4),
        "interval": [round(bound, 4) for bound in found.interval],
    }


def _of_level(samples: Sequence[EvaluatedSample], level: str) -> list[EvaluatedSample]:
    return [sample for sample in samples if level in ("all", sample.level)]
