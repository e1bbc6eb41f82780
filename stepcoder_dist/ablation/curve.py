"""The learning curve of one run, from its folder: the figures of every step in a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import RunError
from stepcoder_dist.host.files import json_lines
from stepcoder_dist.records import Outcome

FIGURES = (
    "reward",
    "pass_rate",
    "mean_stage",
    "kept_share",
    "entropy",
    "kl_reference",
    "completion_length",
    "policy_loss",
    "value_loss",
    "advantage_std",
    "clip_fraction",
    "explained_variance",
    "skipped_steps",
    "flat_share",
    "kl_loss",
)
"""The figures of `metrics.METRICS` that are kept; a method without a critic lacks some."""


def read(run_dir: Path) -> dict[str, tuple[float | None, ...]]:
    """Read the figures by name, with one value a step; None where a step has no such figure.

    `whole_share` is the share of a step's samples that were complete programs (stage 0), and
    `whole_pass_rate` the share of those that passed; None where there were none.

    Raises `RunError` for a run that lost samples: it would not come out the same again.
    """
    steps = list(json_lines.rows(run_dir / "metrics.jsonl"))
    lost = steps[-1]["samples/infrastructure_error"]
    if lost:
        raise RunError(
            f"the sandbox failed on {lost:.0f} samples, so this result would not come out the same "
            "again; run the cell again (stepcoder doctor says what the engine lacks)"
        )
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for row in json_lines.rows(run_dir / "samples.jsonl"):
        by_step.setdefault(row["step"], []).append(row)
    # a step that was not finite has none
    samples = [by_step.get(int(step["step"]), []) for step in steps]
    whole = [[row for row in rows if row["stage"] == 0] for rows in samples]
    # some have no value in a skipped step, and while the critic warms up
    present = [name for name in FIGURES if any(name in step for step in steps)]
    return {
        "step": tuple(step["step"] for step in steps),
        "samples": tuple(step["samples/trained"] for step in steps),
        **{name: tuple(step.get(name) for step in steps) for name in present},
        "whole_share": tuple(
            len(w) / len(s) if s else None for w, s in zip(whole, samples, strict=True)
        ),
        "whole_pass_rate": tuple(_pass_rate(rows) for rows in whole),
    }


def _pass_rate(rows: Sequence[Mapping[str, Any]]) -> float | None:
    if not rows:
        return None
    passed: list[bool] = [row["outcome"] == Outcome.PASSED for row in rows]
    return passed.count(True) / len(passed)
