"""The trace log keeps what the driver saw: durations of others end when the driver learns of it."""

from __future__ import annotations

import numpy as np
import pytest

from stepcoder_dist.loop.stages.stage_clock import Stage
from stepcoder_dist.loop.tracing.trace_log import TraceLog, learner_waits_for, rollouts_wait_for
from stepcoder_dist.records import Completion, Program, TakenUpdate


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def completion(seconds: float) -> Completion:
    return Completion(
        sample_id="s0-0-0",
        text="x",
        token_ids=np.zeros(3, np.int32),
        char_spans=np.zeros((3, 2), np.int32),
        program=Program(source="x", given_chars=0, code_chars=1, fence_chars=(1, 1)),
        token_lines=np.ones(3, np.int32),
        logprobs=np.zeros(3, np.float32),
        ended=True,
        oldest_weights=1,
        newest_weights=2,
        actor="rollout-0",
        seconds=seconds,
    )


@pytest.mark.parametrize(
    ("seconds", "begin"),
    [
        (1.5, 2_500_000),
        (9.0, 1_000_000),  # no earlier than it was asked for, whatever the engine measured
        (-1.0, 4_000_000),
    ],
)
def test_decoding_ends_when_it_arrives_and_takes_what_the_engine_measured(
    seconds: float, begin: int
):
    clock = Clock()
    log = TraceLog(now=clock)
    clock.time = 101.0
    asked = log.now()
    clock.time = 104.0
    log.decoded(completion(seconds), asked)
    (decoded,) = log.take(1).decoded
    assert decoded == ("s0-0-0", "rollout-0", 1_000_000, begin, 4_000_000, 3, 1, 2)


def test_a_pause_ends_when_the_actor_says_so_and_takes_what_it_measured():
    clock = Clock()
    log = TraceLog(now=clock)
    clock.time = 103.0
    log.taken(TakenUpdate(actor="rollout-1", paused_s=0.25), 7)
    assert log.take(None).spans == [("rollout-1/pauses", "push 7", 2_750_000, 3_000_000, {})]


def test_intervals_with_one_reason_to_wait_are_one_span_and_a_step_ends_it():
    log = TraceLog(now=Clock())
    both, sampling = frozenset({Stage.SAMPLING, Stage.JUDGING}), frozenset({Stage.SAMPLING})
    log.working(sampling, 100.0, 101.0)
    log.working(both, 101.0, 102.0)
    log.working(frozenset({Stage.JUDGING}), 102.0, 103.0)
    first = [span[:4] for span in log.take(None).spans]
    log.working(frozenset({Stage.JUDGING}), 103.0, 103.5)
    log.working(frozenset({Stage.LEARNING}), 103.5, 105.0)
    second = [span[:4] for span in log.take(None).spans]
    assert first == [
        ("driver/learner waits", "for rollouts", 0, 2_000_000),
        ("driver/learner waits", "for sandbox", 2_000_000, 3_000_000),
        ("driver/rollouts wait", "for sandbox", 2_000_000, 3_000_000),
    ]
    assert second == [
        ("driver/learner waits", "for sandbox", 3_000_000, 3_500_000),
        ("driver/rollouts wait", "for sandbox", 3_000_000, 3_500_000),
        ("driver/rollouts wait", "for learner", 3_500_000, 5_000_000),
    ]


@pytest.mark.parametrize(
    ("working", "learner", "rollouts"),
    [
        ({Stage.SAMPLING}, "rollouts", ""),
        ({Stage.JUDGING}, "sandbox", "sandbox"),
        ({Stage.LEARNING, Stage.SAMPLING}, "", ""),
        ({Stage.LEARNING}, "", "learner"),
        ({Stage.PUSHING}, "", "push"),
        ({Stage.SAVING}, "", "checkpoint"),
        (set(), "", ""),
    ],
)
def test_who_waits_for_whom(working: set[Stage], learner: str, rollouts: str):
    assert learner_waits_for(frozenset(working)) == learner
    assert rollouts_wait_for(frozenset(working)) == rollouts


def test_a_log_that_is_off_keeps_nothing():
    log = TraceLog(on=False)
    log.decoded(completion(1.0), log.now())
    with log.span("a/b", "c"):
        pass
    log.working(frozenset({Stage.SAMPLING}), 0.0, 1.0)
    page = log.take(1)
    assert (page.spans, page.decoded, page.judged) == ([], [], [])
