"""`stepcoder judge`: the verdicts of a file of programs."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.config import Backend
from stepcoder_dist.host.interruption import run_until_done


def judge(
    problems: Path,
    programs: Path,
    out: Path,
    *,
    backend: Backend,
    jobs: int,
    image: str,
    resume: bool,
) -> None:
    """Run `stepcoder judge`."""
    from sandbox.judge_files.batch import judge_files

    command = judge_files(
        problems, programs, out, backend=backend, jobs=jobs, image=image, resume=resume
    )
    run_until_done(command)
