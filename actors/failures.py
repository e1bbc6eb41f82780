"""Why a rollout actor did not sample: the two answers that the pool acts on differently."""

from __future__ import annotations

from stepcoder_dist.errors import RunError


class EngineLost(RunError):
    """vLLM's engine broke: this process will not sample again; the pool replaces it."""


class AwaitsWeights(RunError):
    """The actor does not hold one complete weight version: only a complete push helps."""
