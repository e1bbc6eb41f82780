"""The book knows where every sample is: its states, its transitions, and what may wait for them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from benchmarks.simulated_clock import SimulatedClockLoop
from stepcoder_dist.errors import RunError
from stepcoder_dist.loop.account import Ending, Page
from stepcoder_dist.loop.book.groups import TrainedGroup
from stepcoder_dist.loop.book.lines import Fate, State
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.loop.patience import Patience
from stepcoder_dist.loop.sample_book import SampleBook
from stepcoder_dist.records import (
    Completion,
    Outcome,
    Program,
    RolloutRequest,
    Ticket,
    Trajectory,
    Verdict,
)

ONE = np.ones(1, dtype=np.int32)


def book(
    *,
    capacity: int = 8,
    staleness: int = 0,
    samples_per_group: int = 2,
    stall_s: float = 60,
    clock: Callable[[], float] = time.monotonic,
    program_room: int = 0,
) -> SampleBook:
    return SampleBook(
        capacity=capacity,
        max_staleness=staleness,
        samples_per_group=samples_per_group,
        patience=Patience(stall_s, clock),
        program_room=program_room,
    )


def ticket(sample_id: str) -> Ticket:
    """`a-0` and `a-1` are the group `a`, of the problem `p/a`."""
    group = sample_id.partition("-")[0]
    return Ticket(
        sample_id=sample_id, group=group, problem_id=f"p/{group}", stage=1, seed=0, planned_step=0
    )


def request(sample_id: str) -> RolloutRequest:
    return RolloutRequest(
        ticket=ticket(sample_id),
        prompt_ids=ONE,
        given="",
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=1,
    )


def judged(sample_id: str, *, weights: int = 0, outcome: Outcome = Outcome.PASSED) -> JudgedSample:
    asked = request(sample_id)
    trajectory = Trajectory(
        ticket=asked.ticket,
        level="introductory",
        prompt_ids=ONE,
        completion_ids=ONE,
        rollout_logprobs=-np.ones(1, dtype=np.float32),
        keep=np.array([True]),
        reward=1.0,
        outcome=outcome,
        temperature=1.0,
        oldest_weights=weights,
        newest_weights=weights,
    )
    completion = Completion(
        sample_id=sample_id,
        text="x",
        token_ids=ONE,
        char_spans=np.array([[0, 1]], dtype=np.int32),
        program=Program(source="x", given_chars=0, code_chars=1, fence_chars=(1, 1)),
        token_lines=ONE,
        logprobs=-np.ones(1, dtype=np.float32),
        ended=True,
        oldest_weights=weights,
        newest_weights=weights,
    )
    return JudgedSample(
        trajectory=trajectory,
        request=asked,
        completion=completion,
        verdict=Verdict(
            outcome=outcome, tests=(), structure=None, coverage_trusted=True, wall_ms=1.0
        ),
        lines=None,
        tests_total=1,
    )


def started(opened: SampleBook, *sample_ids: str) -> SampleBook:
    for sample_id in sample_ids:
        opened.add(ticket(sample_id))
        opened.start([request(sample_id)])
    return opened


def ids(samples: list[JudgedSample]) -> list[str]:
    return [sample.sample_id for sample in samples]


# ---------------------------------------------------------------- a sample's life


def test_samples_that_the_next_step_could_not_train_are_taken_before_those_planned_earlier():
    async def scenario() -> None:
        samples = started(book(staleness=1), "a-0", "a-1", "b-0", "b-1")
        samples.version = 1
        for sample_id, weights in {"a-0": 1, "a-1": 1, "b-0": 1, "b-1": 0}.items():
            assert await samples.buffer(judged(sample_id, weights=weights))
        assert ids(await samples.take(2)) == ["a-0", "b-1"]
        assert ids(await samples.take(2)) == ["a-1", "b-0"]

    asyncio.run(scenario())


def test_with_a_step_only_the_samples_that_were_planned_for_it_are_taken():
    async def scenario() -> None:
        samples = book(staleness=1)
        for sample_id, step in {"a-0": 1, "b-0": 0, "b-1": 0}.items():
            asked = replace(
                request(sample_id), ticket=replace(ticket(sample_id), planned_step=step)
            )
            samples.add(asked.ticket)
            samples.start([asked])
            done = replace(judged(sample_id), request=asked)
            assert await samples.buffer(done)
        assert ids(await samples.take(2, 0)) == ["b-0", "b-1"]

    asyncio.run(scenario())


def test_a_sample_is_planned_started_judged_taken_and_trained():
    async def scenario() -> None:
        opened = book(samples_per_group=1)
        opened.plan(0, [[ticket("a-0")]])
        assert opened.planned_groups() == [[ticket("a-0")]]
        asked = request("a-0")
        opened.start([asked])
        assert opened.planned_groups() == []
        assert opened.request("a-0") is asked
        assert await opened.buffer(judged("a-0"))
        assert opened.buffered == 1
        batch = await opened.take(1)
        assert ids(batch) == ["a-0"]
        assert (opened.buffered, opened.open_ids) == (0, {"a-0"})
        opened.trained(batch, 1)
        assert (opened.version, opened.open_ids) == (1, frozenset())
        assert opened.fates == {Fate.TRAINED: 1}

    asyncio.run(scenario())


def test_a_sample_without_a_verdict_ends_as_a_fault_and_another_takes_its_place():
    async def scenario() -> None:
        opened = started(book(), "a-0")
        opened.lose("a-0")
        started(opened, "a-0+0001")
        await opened.buffer(judged("a-0+0001"))
        assert opened.open_ids == {"a-0+0001"}
        assert opened.fates == {Fate.FAULT: 1}

    asyncio.run(scenario())


def test_a_sample_older_than_the_bound_is_rejected_when_it_arrives():
    async def scenario() -> None:
        opened = started(book(staleness=1), "old-0", "new-0")
        opened.trained([], 1)
        opened.trained([], 2)
        assert not await opened.buffer(judged("old-0", weights=0))
        assert await opened.buffer(judged("new-0", weights=1))
        assert opened.fates == {Fate.REJECTED: 1}
        assert opened.open_ids == {"new-0"}

    asyncio.run(scenario())


def test_what_turns_stale_in_the_buffer_is_rejected_and_its_request_given_back():
    async def scenario() -> None:
        opened = started(book(), "a-0", "b-0")
        old = judged("a-0", weights=0)
        await opened.buffer(old)
        opened.trained([], 1)
        await opened.buffer(judged("b-0", weights=1))
        assert opened.refuse_stale() == [old.request]
        assert (opened.buffered, opened.open_ids) == (1, {"b-0"})
        assert opened.refuse_stale() == []

    asyncio.run(scenario())


def test_at_the_end_of_a_run_what_is_open_is_cancelled_whatever_its_state():
    async def scenario() -> None:
        opened, waiting = await in_every_state()
        assert len(opened.open_ids) == len(State)
        opened.cancel_open()
        assert opened.open_ids == frozenset()
        assert opened.fates == {Fate.CANCELLED: len(State)}
        assert opened.buffered == 0
        waiting.cancel()

    asyncio.run(scenario())


# ---------------------------------------------------------------- impossible transitions


async def in_every_state() -> tuple[SampleBook, asyncio.Task[bool]]:
    """A book with one sample in each state, named after it, and what waits as the judged one."""
    opened = book(capacity=1)
    started(opened, "in a learner step", "buffered", "judged", "under way")
    opened.add(ticket("planned"))
    await opened.buffer(judged("in a learner step"))
    await opened.take(1)
    await opened.buffer(judged("buffered"))
    waiting = asyncio.create_task(opened.buffer(judged("judged")))
    await asyncio.sleep(0)
    return opened, waiting


Transition = Callable[[SampleBook, str], Coroutine[Any, Any, object]]


async def start(opened: SampleBook, sample_id: str) -> None:
    opened.start([request(sample_id)])


async def lose(opened: SampleBook, sample_id: str) -> None:
    opened.lose(sample_id)


async def buffer(opened: SampleBook, sample_id: str) -> None:
    await opened.buffer(judged(sample_id))


async def trained(opened: SampleBook, sample_id: str) -> None:
    opened.trained([judged(sample_id)], opened.version + 1)


TRANSITIONS: Mapping[str, tuple[Transition, State]] = {
    "under way": (start, State.PLANNED),
    "infrastructure_error": (lose, State.UNDER_WAY),
    "judged": (buffer, State.UNDER_WAY),
    "trained": (trained, State.IN_STEP),
}
"""By what they lead to; with the one state that they begin in."""


IMPOSSIBLE = [
    (to, state) for to, (_, begins) in TRANSITIONS.items() for state in State if state is not begins
]


@pytest.mark.parametrize(("to", "state"), IMPOSSIBLE)
def test_an_impossible_transition_is_refused_by_the_samples_name_and_state(to: str, state: State):
    async def scenario() -> None:
        opened, waiting = await in_every_state()
        with pytest.raises(RunError) as refused:
            await TRANSITIONS[to][0](opened, state.value)
        assert str(refused.value) == f"sample {state} cannot be {to}: it is {state}"
        assert opened.open_ids == {s.value for s in State}
        assert (opened.version, opened.fates.total()) == (0, 0)
        waiting.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("to", TRANSITIONS)
def test_a_sample_that_has_its_fate_or_was_never_planned_makes_no_transition(to: str):
    async def scenario() -> None:
        opened = started(book(), "a-0")
        opened.lose("a-0")
        for sample_id in ("a-0", "never"):
            with pytest.raises(RunError, match="it was never planned or has its fate"):
                await TRANSITIONS[to][0](opened, sample_id)
        assert opened.fates == {Fate.FAULT: 1}

    asyncio.run(scenario())


def test_a_sample_is_not_planned_twice_and_no_step_is_passed_over():
    opened = book()
    opened.plan(0, [[ticket("a-0"), ticket("a-1")]])
    with pytest.raises(RunError, match="sample a-0 was planned twice"):
        opened.add(ticket("a-0"))
    for step in (0, 2):
        with pytest.raises(RunError, match=f"step {step} was planned where step 1 is next"):
            opened.plan(step, [])


def test_nothing_was_asked_for_a_sample_that_nobody_has_started():
    opened = book()
    opened.add(ticket("a-0"))
    for sample_id in ("a-0", "never"):
        with pytest.raises(RunError, match=f"sample {sample_id} is not under way"):
            opened.request(sample_id)


def test_versions_come_one_after_another_and_none_is_published_before_its_step():
    async def scenario() -> None:
        opened = book()
        with pytest.raises(RunError, match="the learner made version 2 after version 0"):
            opened.trained([], 2)
        with pytest.raises(RunError, match="version 1 was published after learner step 0"):
            opened.publish(1)

    asyncio.run(scenario())


def test_a_batch_that_the_buffer_can_never_hold_is_refused():
    with pytest.raises(ValueError, match="count = 9 exceeds the buffer's capacity of 8"):
        asyncio.run(book().take(9))


# ---------------------------------------------------------------- groups


def test_a_group_counts_once_all_its_samples_are_trained_in_the_order_of_their_ids():
    async def scenario() -> None:
        opened = started(book(staleness=1), "a-0", "a-1+0007", "b-0", "b-1")
        failed = Outcome.WRONG_ANSWER
        await opened.buffer(judged("b-0"))
        await opened.buffer(judged("a-1+0007", outcome=failed))
        assert opened.trained(await opened.take(2), 1) == []
        for sample_id in ("a-0", "b-1"):
            await opened.buffer(judged(sample_id, weights=1))
        assert opened.trained(await opened.take(2), 2) == [
            TrainedGroup("p/a", 1, (True, False)),
            TrainedGroup("p/b", 1, (True, True)),
        ]

    asyncio.run(scenario())


# ---------------------------------------------------------------- what waits


def test_a_batch_comes_in_the_order_of_planning_whatever_the_order_of_arrival():
    async def scenario() -> list[str]:
        opened = started(book(), "a-0", "b-0", "c-0")
        for sample_id in ("c-0", "a-0", "b-0"):
            await opened.buffer(judged(sample_id))
        return ids(await opened.take(2))

    assert asyncio.run(scenario()) == ["a-0", "b-0"]


def test_a_full_buffer_makes_a_judged_sample_wait_until_the_learner_takes():
    async def scenario() -> list[str]:
        events = []
        opened = started(book(capacity=1), "a-0", "b-0")
        first_is_in = asyncio.Event()

        async def fill() -> None:
            await opened.buffer(judged("a-0"))
            events.append("a in")
            first_is_in.set()
            await opened.buffer(judged("b-0"))
            events.append("b in")

        filling = asyncio.create_task(fill())
        await first_is_in.wait()
        events.append(f"took {ids(await opened.take(1))[0]}")
        await filling
        return events

    assert asyncio.run(scenario()) == ["a in", "took a-0", "b in"]


def test_a_sample_that_turns_stale_while_it_waits_for_room_is_let_go():
    async def scenario() -> bool:
        opened = started(book(capacity=1), "a-0", "b-0")
        await opened.buffer(judged("a-0", weights=1))
        waiting = asyncio.create_task(opened.buffer(judged("b-0", weights=0)))
        await asyncio.sleep(0)
        opened.trained([], 1)
        return await waiting

    assert asyncio.run(scenario()) is False


def test_a_step_has_its_turn_when_the_weights_that_it_may_be_made_with_are_published():
    async def scenario() -> list[str]:
        events = []
        opened = book(staleness=1)

        async def plan(step: int) -> None:
            await opened.turn_of(step)
            events.append(f"turn of {step}")

        turns = [asyncio.create_task(plan(step)) for step in (2, 1, 0)]
        await asyncio.gather(*turns[1:])
        opened.trained([], 1)
        events.append("trained 1")
        opened.publish(1)
        await turns[0]
        return events

    assert asyncio.run(scenario()) == ["turn of 1", "turn of 0", "trained 1", "turn of 2"]


# ---------------------------------------------------------------- checkpoints


HALTS = {
    "weights": (
        lambda opened: opened.turn_of(3),
        r"waits for weights of version 3, to sample step 4 with \(samples: 1 under way\)",
    ),
    "a batch": (
        lambda opened: opened.take(2),
        r"waits for the 2 samples of step 1 \(samples: 1 under way\)",
    ),
    "room": (
        lambda opened: opened.buffer(judged("a-0")),
        r"waits for room in the buffer for sample a-0 \(samples: 1 judged",
    ),
    "the steps ahead": (
        lambda opened: opened.ahead(),
        r"waits for the samples of the steps before 2, which the checkpoint holds",
    ),
}


@pytest.mark.parametrize("what", HALTS)
def test_a_wait_while_nothing_moves_ends_with_an_error_that_says_for_what(what: str):
    waiting, words = HALTS[what]

    async def scenario() -> None:
        opened = book(
            capacity=0 if what == "room" else 8,
            staleness=1 if what == "the steps ahead" else 0,
            stall_s=0.01,
        )
        with pytest.raises(RunError, match=rf"{words}.*nothing has changed for 0.01 s"):
            await waiting(started(opened, "a-0"))

    asyncio.run(scenario())


def test_a_wait_lasts_as_long_as_samples_move_or_the_learner_works():
    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        opened = book(samples_per_group=1, stall_s=100, clock=clock)
        started(opened, "a-0", "b-0")
        taking = asyncio.ensure_future(opened.take(2))
        with opened.patience.working():
            ended, _ = await asyncio.wait({taking}, timeout=350)
        assert not ended
        for more in range(6):  # together far over the limit
            await asyncio.wait({taking}, timeout=70)
            started(opened, f"c-{more}")
        await opened.buffer(judged("a-0"))
        await opened.buffer(judged("b-0"))
        assert ids(await taking) == ["a-0", "b-0"]
        idle = asyncio.ensure_future(opened.take(2))
        ended, _ = await asyncio.wait({idle}, timeout=101)
        with pytest.raises(RunError, match="nothing has changed for 100 s"):
            ended.pop().result()

    with asyncio.Runner(loop_factory=SimulatedClockLoop) as runner:
        runner.run(scenario())


def test_a_snapshot_keeps_open_samples_as_planned_groups_in_part_fates_and_versions():
    async def scenario() -> SampleBook:
        opened = book()
        opened.plan(0, [[ticket("a-0"), ticket("a-1")], [ticket("b-0"), ticket("b-1")]])
        opened.start([request("b-0"), request("a-1"), request("a-0")])
        opened.lose("b-0")
        opened.add(ticket("b-0+0001"))
        await opened.buffer(judged("a-1"))
        await opened.buffer(judged("a-0"))
        opened.trained(await opened.take(1), 1)
        return opened

    opened = asyncio.run(scenario())
    snapshot = json.loads(json.dumps(opened.snapshot()))
    assert snapshot.keys() == {"version", "planned_steps", "on_their_way", "groups", "samples"}
    again = book()
    again.restore(snapshot)
    assert again.snapshot() == snapshot
    assert (again.version, again.published, again.planned_steps) == (1, 1, 1)
    assert again.planned_groups() == [[ticket("a-1")], [ticket("b-0+0001"), ticket("b-1")]]
    assert again.fates == {Fate.FAULT: 1, Fate.TRAINED: 1}
    assert snapshot["groups"] == {"a": {"a-0": True}}


def test_the_tickets_of_an_old_checkpoint_are_in_the_group_that_their_id_begins_with():
    fields = {"problem_id": "p", "stage": 0, "seed": 0, "planned_step": 3}
    old_ids = ("s000003-0001-0000", "s000003-0001-0001+0012", "s000003-0002-0000")
    opened = book()
    opened.restore(
        {
            "version": 3,
            "planned_steps": 4,
            "on_their_way": [{"sample_id": sample_id, **fields} for sample_id in old_ids],
            "groups": {},
            "samples": {},
        }
    )
    groups = [[t.group for t in group] for group in opened.planned_groups()]
    assert groups == [["s000003-0001", "s000003-0001"], ["s000003-0002"]]


# ---------------------------------------------------------------- any history


@given(st.lists(st.integers(0, 6), max_size=80), st.integers(0, 2))
def test_whatever_happens_every_sample_that_was_planned_has_one_place_or_one_fate(
    moves: list[int], staleness: int
):
    async def scenario() -> None:
        opened = book(capacity=6, staleness=staleness, samples_per_group=1)
        planned, under_way, groups = 0, [], 0
        for move in moves:
            if move <= 1:  # one more sample, at once under way
                started(opened, f"{planned:04d}-0")
                under_way.append(f"{planned:04d}-0")
                planned += 1
            elif move == 2 and under_way:
                opened.lose(under_way.pop(0))
            elif move <= 4 and under_way and opened.buffered < 6:
                # sampled with the weights of then, which may be too old by now
                weights = opened.version - (move == 4) * (staleness + 1)
                await opened.buffer(judged(under_way.pop(), weights=weights))
            elif move == 5 and opened.buffered >= 2:
                batch = await opened.take(2)
                groups += len(opened.trained(batch, opened.version + 1))
            elif move == 6:
                opened.refuse_stale()
            assert len(opened.open_ids) + opened.fates.total() == planned
            assert opened.buffered == len(opened.open_ids) - len(under_way)
            again = book()
            again.restore(json.loads(json.dumps(opened.snapshot())))
            assert again.open_ids == opened.open_ids
            assert again.account.take() == Page(), "restored samples were planned before"
        assert groups == opened.fates[Fate.TRAINED]
        opened.cancel_open()
        assert opened.fates.total() == planned
        page = opened.account.take()
        assert [t.sample_id for t in page.planned] == [f"{i:04d}-0" for i in range(planned)]
        assert len({ending.sample_id for ending in page.ended}) == len(page.ended) == planned
        assert Counter(ending.fate for ending in page.ended) == opened.fates

    asyncio.run(scenario())


def test_the_account_has_each_plan_and_fate_once_and_the_reason_of_a_rejection():
    async def scenario() -> None:
        opened = started(book(staleness=0), "a-0", "a-1")
        opened.version = 1
        assert not await opened.buffer(judged("a-0", weights=0))
        assert opened.account.take() == Page(
            planned=[ticket("a-0"), ticket("a-1")], ended=[Ending("a-0", "rejected", "stale")]
        )
        opened.lose("a-1")
        assert opened.account.take() == Page(ended=[Ending("a-1", "infrastructure_error")])
        assert opened.account.take() == Page()

    asyncio.run(scenario())


def test_a_group_that_is_spread_over_a_checkpoint_comes_with_the_programs_that_passed():
    async def scenario() -> None:
        opened = started(book(staleness=1, program_room=2), "a-0", "a-1")
        await opened.buffer(judged("a-0"))
        assert opened.trained(await opened.take(1), 1) == []
        snapshot = json.loads(json.dumps(opened.snapshot()))
        assert snapshot["programs"] == {"a-0": "x"}
        again = book(staleness=1, program_room=2)
        again.restore(snapshot)
        again.start([request("a-1")])
        await again.buffer(judged("a-1", weights=1, outcome=Outcome.WRONG_ANSWER))
        group = TrainedGroup("p/a", 1, (True, False), ("x",))
        assert again.trained(await again.take(1), 2) == [group]
        assert again.snapshot()["programs"] == {}

    asyncio.run(scenario())


def test_a_program_that_would_leave_no_room_for_an_answer_is_not_kept():
    async def scenario() -> None:
        # prompt and answer have one token each
        opened = started(book(program_room=1), "a-0", "a-1")
        for sample_id in ("a-0", "a-1"):
            await opened.buffer(judged(sample_id))
        group = TrainedGroup("p/a", 1, (True, True))
        assert opened.trained(await opened.take(2), 1) == [group]

    asyncio.run(scenario())
