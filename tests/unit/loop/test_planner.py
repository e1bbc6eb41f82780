"""Which problems a step gets, and with which seeds."""

from __future__ import annotations

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


def planner(count: int, *, seed: int = 0) -> Planner:
    chosen = problems(count)
    return Planner(
        [p.problem_id for p in chosen],
        Curriculum(CurriculumConfig(), chosen),
        seed=seed,
        problems_per_step=2,
        samples_per_problem=3,
    )


def ids(plan) -> list[str]:
    return [start.problem_id for start, _ in plan]


def test_an_epoch_visits_every_problem_once_before_any_comes_again():
    five = planner(5)
    drawn = [problem_id for step in range(5) for problem_id in ids(five.plan(step))]
    assert sorted(drawn[:5]) == ["p0", "p1", "p2", "p3", "p4"]
    assert sorted(drawn[5:]) == ["p0", "p1", "p2", "p3", "p4"]
    assert drawn[:5] != drawn[5:]


def test_a_step_is_the_same_whatever_was_planned_before():
    fresh, used = planner(5), planner(5)
    for step in range(3):
        used.plan(step)
    assert fresh.plan(7) == used.plan(7)


def test_a_group_shares_one_start_point_and_has_a_seed_for_each_sample():
    (start, tickets), _ = planner(5).plan(0)
    assert start.stage == 1
    assert start.line == 4
    assert {t.stage for t in tickets} == {1}
    assert len({t.seed for t in tickets}) == 3
    assert [t.sample_id for t in tickets] == [
        "s000000-0000-0000",
        "s000000-0000-0001",
        "s000000-0000-0002",
    ]


def test_another_run_seed_gives_other_problems_and_samples():
    assert planner(50, seed=1).plan(0) != planner(50, seed=2).plan(0)


def test_a_replacement_is_a_new_sample_of_the_same_stage():
    five = planner(5)
    ticket = five.plan(0)[0][1][0]
    again = five.replace(ticket)
    assert (again.problem_id, again.stage) == (ticket.problem_id, ticket.stage)
    assert again.sample_id == "s000000-0000-0000+0001"
    assert again.seed != ticket.seed
    assert five.replace(again).sample_id == "s000000-0000-0000+0002"


def test_seeds_fit_in_31_bits():
    assert all(0 <= sample_seed(3, f"s{i}") < 2**31 for i in range(1000))
