"""A warning when the sampler's log-probs are too far from the learner's."""

from __future__ import annotations

import logging

from stepcoder_dist.records import StepReport

logger = logging.getLogger(__name__)

REPEAT_AFTER = 10
"""Steps above the bound from one warning to the next."""


class MismatchAlarm:
    """Watches `logprob_mismatch` of a run's steps."""

    def __init__(self, bound: float) -> None:
        """`bound`: nats a token (`learner.mismatch_alarm`)."""
        self._bound = bound
        self._above = 0

    def hear(self, report: StepReport) -> None:
        """Log one line in the first step above the bound, and in every tenth such step after it."""
        mismatch = report.metrics.get("logprob_mismatch", 0.0)
        if mismatch <= self._bound:
            return
        if self._above % REPEAT_AFTER == 0:
            logger.warning(
                "the sampler's log-probs are %.3f nats a token from the learner's at version %d "
                "(learner.mismatch_alarm = %g): lower train.max_staleness, raise sampling.top_p "
                'towards 1, or use model.dtype = "float32"',
                mismatch,
                report.version,
                self._bound,
            )
        self._above += 1
