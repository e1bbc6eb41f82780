"""Which problems a step gets, and with which seeds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, strategies as st

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.loop.planner import Planner, sample_seed
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.records import Problem, TestSuite

SOURCE = "n = int(input())\nif n > 1:\n    n = 2\nif n > 3:\n    n = 4\nprint(n)\n"


def problems(count: int) -> list[Problem]:
    tests = TestSuite(inputs=("1",), outputs=("1",))
    return [
        Problem(problem_id=f"p{i}", statement="", reference=SOURCE, level="interview", tests=tests)
        for i in range(count)
    ]


def planner(count: int, *, seed: int = 0, a_step: int = 2) -> Planner:
    chosen = problems(count)
    return Planner(
        [p.problem_id for p in chosen],
        Curriculum(CurriculumConfig(), chosen),
        seed=seed,
        problems_per_step=a_step,
        samples_per_problem=3,
    )


def ids(plan) -> list[str]:
    """The problem of each group; its samples share it."""
    return [problem_id for group in plan for problem_id in {t.problem_id for t in group}]


def draws(count: int, *, a_step: int, steps: int, seed: int = 0) -> list[str]:
    """The problems of each step as one word of digits."""
    planned = planner(count, seed=seed, a_step=a_step)
    return ["".join(ids(planned.plan(step))).replace("p", "") for step in range(steps)]


def test_an_epoch_visits_every_problem_once_before_any_comes_again():
    drawn = "".join(draws(6, a_step=2, steps=6))
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == list("012345")
    assert drawn[:6] != drawn[6:]


def test_an_epoch_that_ends_inside_a_step_is_followed_by_the_next():
    # 24301 is the first epoch, 0 3 and 4 3 0 2 what comes of the second
    assert draws(5, a_step=2, steps=5, seed=3) == ["42", "13", "01", "40", "23"]


def test_what_a_step_already_has_from_the_epoch_before_gives_way_to_the_next_problem():
    # second epoch 1 4 3 0 2: problem 1 is there already, so 4 takes its slot and comes again
    assert draws(5, a_step=2, steps=5) == ["24", "30", "14", "43", "02"]
    # epochs 325401, 143025, 520143, 130…: only the second 1 and the second 3 give way
    assert draws(6, a_step=4, steps=5) == ["3254", "0134", "3025", "5201", "4310"]


def test_a_set_that_is_smaller_than_a_step_comes_again_within_it():
    assert draws(2, a_step=5, steps=2) == ["01010", "10101"]


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 60),
    st.integers(0, 2**32),
)
def test_a_step_never_draws_a_problem_twice_unless_the_set_is_smaller(
    count: int, a_step: int, step: int, seed: int
):
    times = Counter(ids(planner(count, seed=seed, a_step=a_step).plan(step)))
    assert times.total() == a_step
    if count >= a_step:
        assert set(times.values()) == {1}


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 40), st.integers(0, 2**32))
def test_steps_that_no_epoch_ends_in_share_no_problem_within_the_epoch(
    whole_steps: int, a_step: int, epoch: int, seed: int
):
    # one problem more than the steps of an epoch use: epochs begin at every place in a step
    count = whole_steps * a_step + 1
    planned = planner(count, seed=seed, a_step=a_step)
    begin, end = epoch * count, (epoch + 1) * count
    inside = [s for s in range(begin // a_step, end) if begin <= s * a_step <= end - a_step]
    times = Counter(problem for step in inside for problem in ids(planned.plan(step)))
    assert set(times.values()) <= {1}


def test_a_step_is_the_same_whatever_was_planned_before():
    fresh, used = planner(5), planner(5)
    for step in range(3):
        used.plan(step)
    assert fresh.plan(7) == used.plan(7)


def test_a_group_shares_one_stage_and_has_a_seed_for_each_sample():
    tickets, _ = planner(5).plan(0)
    assert {t.stage for t in tickets} == {1}
    assert len({t.seed for t in tickets}) == 3
    assert {t.group for t in tickets} == {"s000000-0000"}
    assert [t.sample_id for t in tickets] == [
        "s000000-0000-0000",
        "s000000-0000-0001",
        "s000000-0000-0002",
    ]


def test_another_run_seed_gives_other_problems_and_samples():
    assert planner(50, seed=1).plan(0) != planner(50, seed=2).plan(0)


def test_a_replacement_is_a_new_sample_of_the_same_stage():
    five = planner(5)
    ticket = five.plan(0)[0][0]
    again = five.replace(ticket)
    assert (again.problem_id, again.stage) == (ticket.problem_id, ticket.stage)
    assert again.group == five.replace(again).group == "s000000-0000"
    assert again.sample_id == "s000000-0000-0000+0001"
    assert again.seed != ticket.seed
    assert five.replace(again).sample_id == "s000000-0000-0000+0003"


def test_seeds_fit_in_31_bits():
    assert all(0 <= sample_seed(3, f"s{i}") < 2**31 for i in range(1000))
