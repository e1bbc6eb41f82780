"""The warning about a sampler that is far from the learner."""

from __future__ import annotations

import pytest

from learner.mismatch_alarm import MismatchAlarm
from stepcoder_dist.records import StepReport


def report(version: int, **metrics: float) -> StepReport:
    return StepReport(version=version, skipped=False, metrics=metrics)


def test_one_line_for_the_first_step_above_the_bound_and_every_tenth_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alarm = MismatchAlarm(0.2)
    alarm.hear(report(1, logprob_mismatch=0.2))
    alarm.hear(report(2))  # a skipped step has no such figure
    assert not caplog.records

    for version in range(3, 15):
        alarm.hear(report(version, logprob_mismatch=0.25))

    assert [record.args[:2] for record in caplog.records] == [(0.25, 3), (0.25, 13)]
    assert caplog.messages[0].startswith("the sampler's log-probs are 0.250 nats a token from")
    assert "learner.mismatch_alarm = 0.2" in caplog.messages[0]
