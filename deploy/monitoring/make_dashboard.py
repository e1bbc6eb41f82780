"""Write grafana/dashboards/stepcoder.json from the table below: `make dashboard`.

Every name begins with `ray_stepcoder_`: Ray puts `ray_` before what a process exports. `$run`
selects Ray sessions, so that two clusters in one Prometheus stay apart. Standard library only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "grafana" / "dashboards" / "stepcoder.json"
WIDTH, HEIGHT, COLUMNS = 8, 8, 24
"""Of a panel, and of Grafana's grid."""

Query = tuple[str, str]
"""PromQL with `N{…}` for a metric's name and labels, and the legend."""

ROWS: dict[str, list[tuple[str, str, list[Query]]]] = {
    "Learning": [
        ("Reward", "short", [("reward{}", "mean reward")]),
        (
            "Pass rate by level",
            "percentunit",
            [
                ("pass_rate{}", "all"),
                ("pass_rate_introductory{}", "introductory"),
                ("pass_rate_interview{}", "interview"),
                ("pass_rate_competition{}", "competition"),
                ("heldout_pass_at_1{}", "held-out pass@1"),
                ("heldout_reward_gap{}", "above it by tests like the training ones"),
            ],
        ),
        (
            "Stage of the curriculum",
            "short",
            [("mean_stage{}", "mean stage; 0: complete programs")],
        ),
        (
            "Entropy and KL",
            "short",
            [
                ("entropy{}", "entropy"),
                ("kl_reference{}", "KL to the reference"),
                ("approx_kl{}", "KL of the step"),
            ],
        ),
        (
            "Sampler against learner",
            "short",
            [("logprob_mismatch{}", "log-prob mismatch"), ("correction_mean{}", "mean correction")],
        ),
        (
            "Tokens that carry loss",
            "percentunit",
            [("kept_share{}", "kept"), ("flat_share{}", "flat groups")],
        ),
    ],
    "Pipeline": [
        ("Steps", "short", [("step{}", "step")]),
        (
            "Who waits for whom: seconds of a step",
            "s",
            [
                ("seconds_wait_for_rollouts{}", "learner waits for samples"),
                ("seconds_learner{}", "learner step"),
                ("seconds_publish{}", "push of weights"),
                ("seconds_checkpoint{}", "checkpoint"),
            ],
        ),
        (
            "Idle share of each pool",
            "percentunit",
            [
                ("clamp_min(1 - rate(rollout_busy_seconds_total{}[2m]), 0)", "{{actor}}"),
                (
                    "clamp_min(1 - sum(sandbox_in_flight{}) / sum(sandbox_containers{}), 0)",
                    "sandbox",
                ),
                ("clamp_min(1 - share_learner{}, 0)", "learner"),
            ],
        ),
        (
            "Queues",
            "short",
            [
                ("sandbox_waiting{}", "programs for the sandbox"),
                ("rollout_waiting{}", "requests in {{actor}}"),
                ("buffer_depth{}", "judged samples for the learner"),
                ("samples_in_flight{}", "samples under way"),
            ],
        ),
        (
            "Age of trained samples, in versions",
            "short",
            [
                ("staleness_0{}", "0"),
                ("staleness_1{}", "1"),
                ("staleness_2{}", "2"),
                ("staleness_3{}", "3"),
                ("staleness_4{}", "4 and more"),
            ],
        ),
        (
            "How samples ended",
            "short",
            [
                ("samples_trained{}", "trained"),
                ("samples_rejected{}", "rejected"),
                ("samples_infrastructure_error{}", "infrastructure error"),
            ],
        ),
    ],
    "Rollout actors": [
        ("Tokens a second", "short", [("rate(rollout_tokens_total{}[1m])", "{{actor}}")]),
        ("Weight version", "short", [("rollout_weight_version{}", "{{actor}}")]),
        (
            "Pause by a push",
            "s",
            [
                (
                    (
                        "rate(rollout_pause_seconds_sum{}[5m])"
                        " / rate(rollout_pause_seconds_count{}[5m])"
                    ),
                    "{{actor}}",
                )
            ],
        ),
        ("KV cache in use", "percentunit", [("rollout_kv_cache_use{}", "{{actor}}")]),
        (
            "Preemptions a minute",
            "short",
            [("60 * rate(rollout_preemptions_total{}[5m])", "{{actor}}")],
        ),
        (
            "Decoding",
            "short",
            [
                ("rollout_running{}", "{{actor}} in the batch"),
                ("rollout_in_flight{}", "{{actor}} asked for"),
            ],
        ),
    ],
    "Sandbox": [
        (
            "Verdicts a second",
            "short",
            [("sum by (outcome) (rate(sandbox_verdicts_total{}[1m]))", "{{outcome}}")],
        ),
        (
            "From program to verdict",
            "ms",
            [
                ("sandbox_latency_p50_ms{}", "median"),
                ("sandbox_latency_p95_ms{}", "95th percentile"),
                ("sandbox_latency_p99_ms{}", "99th percentile"),
            ],
        ),
        (
            "Executors and containers",
            "short",
            [
                ("sandbox_executors{}", "executors"),
                ("sum(sandbox_containers{})", "warm containers"),
            ],
        ),
        (
            "Faults and restarts in 10 minutes",
            "short",
            [
                ("increase(sandbox_faults_total{}[10m])", "tries without a verdict"),
                ("increase(sandbox_restarts_total{}[10m])", "executors replaced"),
                ("sum(sandbox_recycled{})", "containers replaced since the start"),
            ],
        ),
    ],
}


def promql(query: str) -> str:
    """Put the prefix before each metric's name and the run's selector between its braces."""
    pieces = query.split("{}")
    written = []
    for piece in pieces[:-1]:
        start = len(piece)
        while start and (piece[start - 1].isalnum() or piece[start - 1] == "_"):
            start -= 1
        written.append(f'{piece[:start]}ray_stepcoder_{piece[start:]}{{SessionName=~"$run"}}')
    return "".join([*written, pieces[-1]])


def panel(
    number: int, place: tuple[int, int], title: str, unit: str, queries: list[Query]
) -> dict[str, Any]:
    x, y = place
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "custom": {"fillOpacity": 8}}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": promql(query), "legendFormat": legend}
            for i, (query, legend) in enumerate(queries)
        ],
    }


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row, contents in ROWS.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row, "gridPos": place, "panels": []}
        )
        y += 1
        for i, (title, unit, queries) in enumerate(contents):
            line, column = divmod(i, COLUMNS // WIDTH)
            at = (column * WIDTH, y + line * HEIGHT)
            panels.append(panel(len(panels) + 1, at, title, unit, queries))
        y += -(-len(contents) * WIDTH // COLUMNS) * HEIGHT
    return {
        "uid": "stepcoder",
        "title": "StepCoder",
        "tags": ["stepcoder", "ray"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "type": "datasource",
                    "query": "prometheus",
                    "label": "Prometheus",
                },
                {
                    "name": "run",
                    "label": "Ray session",
                    "type": "query",
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "query": "label_values(ray_stepcoder_step, SessionName)",
                    "refresh": 2,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=1) + "\n", encoding="utf-8")
