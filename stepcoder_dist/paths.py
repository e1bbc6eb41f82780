"""Paths as users write them, and the folder for runs whose run file names none.

`expanded` reads every path of a run file (`config.section.WrittenPath`), of an ablation file, of
the command line (`cli/written.py`) and of our environment variable. Relative paths start at
the working folder and stay relative in a config, because results are compared by them too.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "STEPCODER_RUNS"


def expanded(written: str) -> str:
    """Return the path with `~` and `~user` replaced; what is no path (`ladder:train`) as it is."""
    return os.path.expanduser(written)  # noqa: PTH111 - Path would rewrite what is no path


def in_ray_job() -> bool:
    """Return whether this is the driver of `ray job submit`.

    Its working folder is a copy of what was uploaded, and is removed with the cluster.
    """
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def runs_root() -> Path:
    """Return `$STEPCODER_RUNS`, else `runs`; in a Ray job `~/stepcoder-runs`."""
    if named := os.environ.get(VARIABLE):
        return Path(expanded(named))
    return Path.home() / "stepcoder-runs" if in_ray_job() else Path("runs")
