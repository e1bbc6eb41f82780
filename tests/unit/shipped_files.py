"""What ships in deploy/runs."""

from __future__ import annotations

from pathlib import Path

RUNS = Path(__file__).parents[2] / "deploy" / "runs"
ABLATION = RUNS / "ablation.toml"
ABLATION_OF_RULES = RUNS / "ablation-rules.toml"
ABLATION_SPARSE = RUNS / "ablation-sparse.toml"
_OF_ABLATIONS = (ABLATION, ABLATION_OF_RULES, ABLATION_SPARSE)
RUN_FILES = sorted(path for path in RUNS.glob("*.toml") if path not in _OF_ABLATIONS)
