"""Paths as users write them, and where runs are kept when a run file names no folder.

`expanded` reads every path of a run file (`config.section.WrittenPath`), of an ablation file, of
the command line (`cli/written.py`) and of our environment variable. Relative paths start at
the working folder and stay relative in a config: they are part of what a result is compared by.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "STEPCODER_RUNS"


def expanded(written: str) -> str:
    """The path with `~` and `~user` replaced; what is no path (`ladder:train`) as it is."""
    return os.path.expanduser(written)  # noqa: PTH111 - Path would rewrite what is no path


def in_ray_job() -> bool:
    """True in the driver of `ray job submit`.

    Its working folder is a copy of what was uploaded, and goes when the cluster does.
    """
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def runs_root() -> Path:
    """`$STEPCODER_RUNS`, else `runs`; in a Ray job `~/stepcoder-runs`."""
    if named := os.environ.get(VARIABLE):
        return Path(expanded(named))
    return Path.home() / "stepcoder-runs" if in_ray_job() else Path("runs")
