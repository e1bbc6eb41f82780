"""The data of the page as plain JSON, and how much of a large run it shows.

The page names every bound. A long run's curves are means over bins, and an even choice of problems
and samples is shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_dist.host.even_choice import evenly, spread
from stepcoder_dist.loop.metrics import METRICS, PHASES
from stepcoder_dist.records import Outcome
from stepcoder_dist.report.catalogue import OUTCOME_LABELS, groups_for
from stepcoder_dist.report.heldout import heldout
from stepcoder_dist.report.run_reading import RunRecord, SampleIndex, read_detailed
from stepcoder_dist.report.sample_lines import drawn
from stepcoder_dist.report.timeline import timeline

MAX_POINTS = 480
"""Most points of a curve, and bars of a chart."""
MAX_PROBLEMS = 160
"""Most rows of the curriculum map."""
MAX_GROUPS = 12_000
"""Most groups of samples on the map; above it, a problem's groups at one stage are one mark."""
MAX_SAMPLES = 240
MAX_SAMPLE_BYTES = 2_000_000
"""Most bytes of all samples on the page together."""
MAX_ONE_SAMPLE_BYTES = 100_000


LIVE_S = 15
"""A page of a live run reads itself again after so many seconds."""


def page_data(run: RunRecord, *, live: bool = False) -> dict[str, Any]:
    """Make everything that the page draws."""
    steps, columns = _curves(run.metrics)
    return {
        "run": {**_summary(run), "live": LIVE_S if live else 0, "written": round(time.time())},
        "steps": steps,
        "bin": max(1, -(-len(run.metrics) // MAX_POINTS)),
        "columns": columns,
        "groups": [
            {
                "title": title,
                "charts": [
                    {
                        "title": chart.title,
                        "names": chart.names,
                        "unit": chart.unit,
                        "meaning": chart.meaning,
                        "sparse": chart.sparse,
                    }
                    for chart in charts
                ],
            }
            for title, charts in groups_for(columns)
        ],
        "outcomes": [{"key": str(o), "label": OUTCOME_LABELS[o]} for o in Outcome],
        "phases": [
            {"key": name, "label": name.replace("_", " "), "meaning": METRICS[f"seconds/{name}"]}
            for name in PHASES
        ],
        "map": curriculum_map(run.samples),
        "heldout": heldout(run.evaluations, run.config),
        "timeline": timeline(run.path),
        "config": run.config_text,
        **_samples(run),
    }


def _summary(run: RunRecord) -> dict[str, Any]:
    train = run.config.get("train")
    planned = train.get("steps") if isinstance(train, Mapping) else None
    return {
        "name": str(run.config.get("name", "")) or run.path.name,
        "folder": run.path.name,
        "planned": planned if isinstance(planned, int) else None,
        "done": int(run.metrics[-1]["step"]) if run.metrics else 0,
        "trained": run.samples.trained,
        "tokens": run.samples.tokens,
        "seconds": sum(figures.get("step_s", 0.0) for figures in run.metrics),
        "updated": run.updated,
        "unreadable": dict(run.unreadable),
    }


# ── curves ───────────────────────────────────────────────────────────────────────────────────


def _curves(
    metrics: Sequence[Mapping[str, float]],
) -> tuple[list[int], dict[str, list[float | None]]]:
    """Return the last step of each bin, and the mean of each figure over it.

    None where it has none.
    """
    size = max(1, -(-len(metrics) // MAX_POINTS))
    bins = [metrics[start : start + size] for start in range(0, len(metrics), size)]
    names = {name for figures in metrics for name in figures} - {"step"}
    columns = {
        name: [_mean([f[name] for f in figures if name in f]) for figures in bins]
        for name in sorted(names)
    }
    return [int(figures[-1]["step"]) for figures in bins], columns


def _mean(values: Sequence[float]) -> float | None:
    return float(f"{sum(values) / len(values):.5g}") if values else None


# ── curriculum map ───────────────────────────────────────────────────────────────────────────


def curriculum_map(index: SampleIndex) -> dict[str, Any]:
    """Return problems by the stages at which they were sampled.

    Problems that began with more given come first, then those that advanced sooner, so that the map
    looks like a stair.
    """
    rows: list[dict[str, Any]] = []
    for problem, groups in index.groups.items():
        visits = [[step, stage, *counts] for (step, stage), counts in sorted(groups.items())]
        rows.append({"id": problem, "level": index.levels.get(problem, ""), "visits": visits})
    rows.sort(key=_stair)
    chosen = {id(row) for row in spread(rows)[:MAX_PROBLEMS]}
    shown = [row for row in rows if id(row) in chosen]
    if merged := sum(len(row["visits"]) for row in shown) > MAX_GROUPS:
        for row in shown:
            row["visits"] = _by_stage(row["visits"])
    return {"problems": shown, "of": len(rows), "merged": merged}


def _stair(row: Mapping[str, Any]) -> tuple[Any, ...]:
    visits = row["visits"]
    last = visits[-1][1]
    reached = next(step for step, stage, *_ in visits if stage == last)
    return -visits[0][1], last, reached, row["id"]


def _by_stage(visits: Sequence[Sequence[int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for step, stage, passed, sampled in visits:
        if merged and merged[-1][1] == stage:
            merged[-1][2] += passed
            merged[-1][3] += sampled
        else:
            merged.append([step, stage, passed, sampled])
    return merged


# ── samples ──────────────────────────────────────────────────────────────────────────────────


def _samples(run: RunRecord) -> dict[str, Any]:
    """Return samples chosen evenly over steps and outcomes, in the order of the steps."""
    detailed = run.samples.detailed
    fitting = [place for place in detailed if place.size <= MAX_ONE_SAMPLE_BYTES]
    chosen = evenly(fitting, lambda place: (place.step, place.outcome))[:MAX_SAMPLES]
    samples: list[dict[str, Any]] = []
    size = 0
    for row in read_detailed(run.path, chosen):
        try:
            sample = drawn(row)
        except (KeyError, TypeError, ValueError):
            continue  # written by another version: counted as recorded, not as shown
        size += len(json.dumps(sample))
        if size > MAX_SAMPLE_BYTES:
            break
        samples.append(sample)
    samples.sort(key=lambda sample: (sample["step"], sample["id"]))
    return {"samples": samples, "recorded": len(detailed)}
