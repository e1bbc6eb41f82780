"""Learner steps with a loss or a gradient that is not finite: kept, counted, and when the run ends.

The learner has skipped such an update on all ranks: the version that it reports has the weights of
the one before, and its push brings the same weights.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import StepReport

logger = logging.getLogger(__name__)


class NonFiniteSteps:
    """Counts such steps in a row."""

    def __init__(
        self, limit: int, keep: Callable[[StepReport, Sequence[JudgedSample]], str]
    ) -> None:
        """`limit`: `learner.max_nonfinite_steps`. `keep` writes a batch and says where it is."""
        self._limit = limit
        self._keep = keep
        self._in_a_row = 0
        self._last = ""

    def hear(self, report: StepReport, batch: Sequence[JudgedSample]) -> None:
        """Count a step; keep the batch of one that was not finite, and log it."""
        if not report.not_finite:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        where = self._keep(report, batch)
        self._last = f"step {report.version}: {report.not_finite}; its batch is {where}"
        logger.warning(
            "%s; the update was skipped (%d of at most %d such steps in a row)",
            self._last,
            self._in_a_row,
            self._limit,
        )

    def check(self) -> None:
        """Raise `RunError` after too many in a row."""
        if self._in_a_row >= self._limit:
            raise RunError(
                f"{self._in_a_row} learner steps in a row were not finite "
                f"(learner.max_nonfinite_steps = {self._limit}), the last of them {self._last}; "
                "look at it (docs/faults.md), lower the learning rates or use "
                'model.dtype = "float32", and resume from an earlier checkpoint'
            )
