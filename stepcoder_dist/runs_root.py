"""Where runs are kept when a run file names no folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "STEPCODER_RUNS"


def in_ray_job() -> bool:
    """True in the driver of `ray job submit`.

    Its working folder is a copy of what was uploaded, and goes when the cluster does.
    """
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def runs_root() -> Path:
    """`$STEPCODER_RUNS`, else `runs`; in a Ray job `~/stepcoder-runs`."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    return Path.home() / "stepcoder-runs" if in_ray_job() else Path("runs")
