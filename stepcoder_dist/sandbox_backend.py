"""What may judge programs, by name. `sandbox/backend.py` makes each, and says how to add one."""

from __future__ import annotations

from typing import Literal

Backend = Literal["docker", "process"]
"""Warm containers, or plain processes of this machine, which are no security boundary."""
