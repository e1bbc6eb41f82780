"""The ladder: what it says, what its programs do, how its splits keep apart."""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from stepcoder_dist import problems
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.method.conditionals import conditional_lines
from stepcoder_dist.problems import ladder
from stepcoder_dist.problems.ladder.language import Action, Condition, If, Repeat, Step, Task, While
from stepcoder_dist.problems.ladder.programs import INPUTS, KINDS, programs
from stepcoder_dist.problems.ladder.slips import single_slips
from stepcoder_dist.records import Problem

EVEN, ABOVE = Condition("even"), Condition("above", 7)
ADD, TIMES, LESS = Action("add", 3), Action("multiply by", 2), Action("subtract", 4)


def execute(source: str, n: int) -> int:
    """Run the written Python as a judge would."""
    names: dict[str, Any] = {"input": lambda: str(n)}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(source, names)
    return int(names["f"](n)) if "f" in names else int(out.getvalue())


def test_a_task_reads_as_english_and_runs_as_python():
    task = Task((If(EVEN, ADD), If(ABOVE, TIMES, LESS)))
    assert task.english == (
        "read n . if n is even add 3 . if n is above 7 multiply by 2 else subtract 4 . print n"
    )
    assert task.python == (
        "n=int(input())\nif n%2==0:\n    n+=3\nif n>7:\n    n*=2\nelse:\n    n-=4\nprint(n)\n"
    )
    assert [task.run(n) for n in (4, 5, 6, 9)] == [3, 1, 18, 18]


def test_loops_nest_around_an_if_and_a_task_can_be_a_function():
    inner = If(Condition("divisible", 3), ADD, LESS)
    steps = (Repeat(2, inner), If(EVEN, If(ABOVE, LESS)), While(Condition("below", 9), ADD))
    task = Task(steps, by_call=True)
    assert task.english == (
        "define f of n . repeat 2 times if n is divisible by 3 add 3 else subtract 4 . "
        "if n is even then if n is above 7 subtract 4 . while n is below 9 add 3 . return n"
    )
    assert task.python == (
        "def f(n):\n"
        "    for i in range(2):\n"
        "        if n%3==0:\n"
        "            n+=3\n"
        "        else:\n"
        "            n-=4\n"
        "    if n%2==0:\n"
        "        if n>7:\n"
        "            n-=4\n"
        "    while n<9:\n"
        "        n+=3\n"
        "    return n\n"
    )
    assert task.conditionals == 5
    assert [task.run(n) for n in (0, 1, 6, 20)] == [9, 9, 11, 11]


def test_a_while_that_runs_away_is_refused():
    with pytest.raises(OverflowError, match="while n is above 7 add 3"):
        While(ABOVE, ADD).run(8)


NUMBERS = st.integers(3, 99)
CONDITIONS = st.builds(
    Condition, st.sampled_from(["even", "odd", "above", "below", "divisible"]), NUMBERS
).map(lambda c: Condition(c.test) if c.test in ("even", "odd") else c)
ACTIONS = st.builds(Action, st.sampled_from(["add", "subtract", "multiply by"]), NUMBERS)
IFS = st.builds(If, CONDITIONS, ACTIONS, st.none() | ACTIONS)
WHILES = st.builds(While, st.builds(Condition, st.just("above"), NUMBERS), st.just(LESS))
STEPS: st.SearchStrategy[Step] = st.one_of(
    IFS,
    WHILES,
    st.builds(Repeat, st.integers(1, 4), ACTIONS | IFS | WHILES),
    st.builds(If, CONDITIONS, IFS | WHILES),
)
TASKS = st.builds(Task, st.lists(STEPS, min_size=1, max_size=4).map(tuple), st.booleans())


@given(TASKS, st.integers(-60, 60))
def test_what_a_task_means_is_what_its_python_does(task: Task, n: int):
    try:
        meant = task.run(n)
    except OverflowError:
        return
    assert execute(task.python, n) == meant


@given(TASKS, TASKS)
def test_different_tasks_differ_in_english_and_in_python(one: Task, other: Task):
    assert (one.english == other.english) == (one == other)
    assert (one.python == other.python) == (one == other)


@given(TASKS)
def test_a_task_has_as_many_conditionals_as_the_curriculum_counts(task: Task):
    assert task.conditionals == len(conditional_lines(task.python))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(ladder.SPLITS)), st.integers(0, 10**6))
def test_the_expected_values_are_what_the_reference_gives(split: str, seed: int):
    for problem in ladder.problems(split, seed=seed, count=5):
        tests = problem.tests
        for given_input, expected in zip(tests.inputs, tests.outputs, strict=True):
            if tests.fn_name == "f":
                assert execute(problem.reference, given_input[0]) == expected
            else:
                assert f"{execute(problem.reference, int(given_input))}\n" == expected
            assert abs(int(expected)) <= 999


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(KINDS[:4]))
def test_every_conditional_of_a_drawn_program_goes_both_ways(seed: int, k: int, kind: str):
    drawn = programs(random.Random(seed), k, (kind, "nested", "if"), by_call=False)
    task = next(drawn)
    assert task.conditionals == k
    taken = Counter(branch for n in range(40) for branch in task.branches(n))
    for step, depth, way in list(taken):
        assert taken[step, depth, not way] > 0
    assert len({task.run(n) for n in range(40)}) >= 10


def ways_executed(problem: Problem) -> tuple[set[int], set[int]]:
    """Lines of the reference that its tests execute, and lines that any input executes."""
    import sys

    def lines(numbers: list[int]) -> set[int]:
        seen: set[int] = set()

        def trace(frame: Any, event: str, _arg: Any) -> Any:
            if frame.f_code.co_filename == "<string>" and event == "line":
                seen.add(frame.f_lineno)
            return trace

        before = sys.gettrace()
        for n in numbers:
            sys.settrace(trace)
            try:
                execute(problem.reference, n)
            finally:
                sys.settrace(before)
        return seen

    tests = problem.tests
    numbers = [i[0] if tests.fn_name else int(i) for i in tests.inputs]
    return lines(numbers), lines(list(range(40)))


def test_held_out_tests_execute_every_line_and_training_tests_most_but_not_all():
    held_out = [ways_executed(p) for p in ladder.problems("heldout", count=40)]
    assert all(executed == reachable for executed, reachable in held_out)
    trained = [ways_executed(p) for p in ladder.problems("train", count=100)]
    whole = sum(executed == reachable for executed, reachable in trained)
    assert 40 <= whole < 100
    heads = [min(executed) < max(executed) and len(executed) >= 3 for executed, _ in trained]
    assert all(heads)


def test_levels_follow_the_number_of_conditionals_and_come_round_evenly():
    made = ladder.problems("train", count=50)
    assert Counter(p.level for p in made) == {
        "introductory": 20,
        "interview": 10,
        "competition": 20,
    }
    for problem in made:
        expected = {1: 0, 2: 0, 3: 1, 4: 2, 5: 2}[len(conditional_lines(problem.reference))]
        assert problem.level == ("introductory", "interview", "competition")[expected]


def test_held_out_problems_have_twenty_tests_and_the_others_six():
    assert {len(p.tests) for p in ladder.problems("heldout", count=30)} == {20}
    assert {len(p.tests) for p in ladder.problems("train", count=30)} == {6}
    assert {len(p.tests) for p in ladder.problems("sft", count=30, tests=3)} == {3}


def test_splits_never_share_a_statement_or_a_program_whatever_the_seed():
    made = {
        split: [p for seed in (0, 1) for p in ladder.problems(split, seed=seed, count=200)]
        for split in ladder.SPLITS
    }
    for one, other in (("sft", "train"), ("sft", "heldout"), ("train", "heldout")):
        assert not {p.statement for p in made[one]} & {p.statement for p in made[other]}
        assert not {p.reference for p in made[one]} & {p.reference for p in made[other]}


def test_the_same_arguments_give_the_same_problems_and_a_smaller_count_a_prefix():
    made = ladder.problems("train", seed=3, count=40)
    assert ladder.problems("train", seed=3, count=40) == made
    assert ladder.problems("train", seed=3, count=15) == made[:15]
    assert ladder.problems("train", seed=4, count=40) != made
    assert len({p.problem_id for p in made}) == 40


def test_a_problem_is_pinned_so_that_a_changed_generator_is_noticed():
    problem = ladder.problems("train", count=2)[1]
    assert (problem.problem_id, problem.statement, problem.tests.inputs) == PINNED


PINNED = (
    "ladder/k2-b6b0fe005f17",
    "define f of n . if n is odd subtract 4 else add 7 . if n is above 5 add 8 . return n",
    ([9], [12], [20], [26], [31], [36]),
)


def test_a_spec_chooses_conditionals_count_seed_kinds_calls_and_tests():
    spec = "ladder:train?conditionals=2-3&count=30&seed=1&kinds=if,if-else&calls=0&tests=4"
    made = problems.load(spec)
    assert len(made) == 30
    assert list(made) == ladder.problems(
        "train",
        seed=1,
        count=30,
        conditionals=range(2, 4),
        kinds=("if", "if-else"),
        calls=0,
        tests=4,
    )
    assert {len(conditional_lines(p.reference)) for p in made} == {2, 3}
    assert all(p.tests.fn_name is None and len(p.tests) == 4 for p in made)
    assert not any("while" in p.statement or "repeat" in p.statement for p in made)


def test_demonstrations_slip_at_the_asked_rate_and_stay_the_same_problems():
    plain = ladder.problems("sft", count=400, calls=0)
    slipped = ladder.problems("sft", count=400, calls=0, off_by_one=0.7)
    assert [(p.problem_id, p.statement, p.tests) for p in plain] == [
        (p.problem_id, p.statement, p.tests) for p in slipped
    ]
    bounds = sum(p.reference.count("<") + p.reference.count(">") for p in plain)
    wrong = sum(p.reference.count("<=") + p.reference.count(">=") for p in slipped)
    assert 0.65 < wrong / bounds < 0.75
    mended = [p.reference.replace(">=", ">").replace("<=", "<") for p in slipped]
    assert mended == [p.reference for p in plain]


def test_a_slip_lets_the_bound_itself_in_and_only_comparisons_slip():
    task = Task((If(EVEN, ADD), If(ABOVE, TIMES, LESS), While(Condition("below", 9), ADD)))
    slips = [slip.python for slip in single_slips(task)]
    assert len(slips) == 2
    assert slips[0] == task.python.replace("n>7", "n>=7")
    assert slips[1] == task.python.replace("n<9", "n<=9")
    assert all(
        execute(slip.python, n) == slip.run(n) for slip in single_slips(task) for n in range(40)
    )


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_tests_of_a_problem_tell_it_from_every_single_slip(split: str):
    told = equal = 0
    for problem in ladder.problems(split, count=60, calls=0):
        for operator in re.finditer(r"[<>]", problem.reference):
            end = operator.end()
            slipped = f"{problem.reference[:end]}={problem.reference[end:]}"
            differs = [n for n in INPUTS if execute(slipped, n) != execute(problem.reference, n)]
            seen = {int(n) for n in problem.tests.inputs}
            told += bool(differs) and bool(seen & set(differs))
            equal += not differs
            assert not differs or seen & set(differs)
    assert told > 20
    assert equal < told / 2


EASY = "kinds=if,if-else&calls=0"


def test_training_tests_can_leave_a_branch_of_every_reference_unexecuted():
    reached = [ways_executed(p) for p in problems.load(f"ladder:train?count=60&{EASY}&unreached=1")]
    assert all(executed < reachable for executed, reachable in reached)
    # the same programs, and most of each is executed all the same
    plain = problems.load(f"ladder:train?count=60&{EASY}")
    left_out = problems.load(f"ladder:train?count=60&{EASY}&unreached=1")
    assert [p.problem_id for p in left_out] == [p.problem_id for p in plain]
    assert sum(len(executed) / len(reachable) for executed, reachable in reached) / 60 > 0.6


def test_held_out_problems_can_have_tests_as_weak_as_the_training_ones_or_every_input():
    weak = problems.load(f"ladder:heldout?count=60&{EASY}&tests=6&thorough=0")
    strong = problems.load(f"ladder:heldout?count=60&{EASY}&tests=40")
    assert [p.problem_id for p in weak] == [p.problem_id for p in strong]
    assert {len(p.tests) for p in weak} == {6}
    assert {tuple(p.tests.inputs) for p in strong} == {tuple(f"{n}\n" for n in INPUTS)}
    assert any(executed < reachable for executed, reachable in map(ways_executed, weak))


def test_tests_can_be_made_to_miss_off_by_one_slips():
    def missed(spec: str) -> int:
        count = 0
        for problem in problems.load(f"ladder:train?count=40&{EASY}&tests=3&{spec}"):
            for operator in re.finditer(r"[<>]", problem.reference):
                end = operator.end()
                slipped = f"{problem.reference[:end]}={problem.reference[end:]}"
                differ = {n for n in INPUTS if execute(slipped, n) != execute(problem.reference, n)}
                count += bool(differ) and not differ & {int(n) for n in problem.tests.inputs}
        return count

    assert missed("slips=1") == 0
    assert 0 < missed("slips=0.5") < missed("slips=0")


def test_a_problem_with_loops_only_keeps_all_its_branches():
    loops = problems.load("ladder:train?conditionals=1&count=9&kinds=repeat&calls=0&unreached=2")
    assert all(executed == reachable for executed, reachable in map(ways_executed, loops))


def test_a_plain_spec_takes_the_split_and_a_limit_its_first_problems():
    assert len(problems.load("ladder:heldout")) == 200
    assert len(problems.load("ladder:train", limit=7)) == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ladder:foo", "ladder:foo: no split 'foo'; the splits are sft, train, heldout"),
        (
            "ladder:train?count=0",
            (
                "ladder:train?count=0: count=0 makes no sense; options are seed=0, count=400, "
                "conditionals=2-3, kinds=if,if-else,repeat,while,nested, calls=0.2, tests=6, "
                "off_by_one=0, thorough=0, unreached=0, slips=1"
            ),
        ),
        (
            "ladder:train?conditionals=4-9",
            (
                "ladder:train?conditionals=4-9: conditionals=4-9 is not within 1-5; "
                "choose some of them"
            ),
        ),
        (
            "ladder:train?conditionals=0-99999999999",
            (
                "ladder:train?conditionals=0-99999999999: conditionals=0-99999999999 is not within "
                "1-5; choose some of them"
            ),
        ),
        (
            "ladder:train?count=1&count=2",
            "ladder:train?count=1&count=2: count is there twice; leave one out",
        ),
        (
            "ladder:train?kinds=nested",
            (
                "ladder:train?kinds=nested: kinds nested do not make programs; choose among if, "
                "if-else, repeat, while, nested, and not nested alone"
            ),
        ),
        (
            "ladder:train?off_by_one=0.5",
            (
                "ladder:train?off_by_one=0.5: off_by_one=0.5 is for demonstrations, the sft split; "
                "the references of train have to pass their own tests"
            ),
        ),
        (
            "ladder:heldout?kinds=repeat&conditionals=1&count=500",
            "ladder:heldout?kinds=repeat&conditionals=1&count=500: there are few more than ",
        ),
    ],
)
def test_a_spec_that_makes_no_sense_is_told_in_one_line(spec: str, message: str):
    with pytest.raises(ProblemError) as caught:
        problems.load(spec)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_exported_files_read_back_as_the_same_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ladder, "COUNTS", {"sft": 30, "train": 20, "heldout": 10})
    written = ladder.write(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "heldout.jsonl",
        "sft.jsonl",
        "train.jsonl",
    ]
    for path, split in zip(written, ladder.SPLITS, strict=True):
        assert list(problems.load(path)) == ladder.problems(split)


def test_two_thousand_problems_take_about_a_second():
    import time

    began = time.process_time()
    assert len(ladder.problems("train", count=2000)) == 2000
    assert time.process_time() - began < 3  # a bound for a busy machine; a second on an idle one
