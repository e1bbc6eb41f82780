"""What travels between a run and those who ask it, and where they meet."""

from __future__ import annotations

from typing import Any

NAMESPACE = "stepcoder-control"
"""Ray's namespace of the control actors; each has the name of its run's folder."""

Question = dict[str, Any]
Answer = dict[str, Any]
