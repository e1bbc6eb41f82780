"""What ships in deploy/runs."""

from __future__ import annotations

from pathlib import Path

RUNS = Path(__file__).parents[2] / "deploy" / "runs"
ABLATION = RUNS / "ablation.toml"
RUN_FILES = sorted(path for path in RUNS.glob("*.toml") if path != ABLATION)
