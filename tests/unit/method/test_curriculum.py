"""CCCS (DESIGN §4): which lines are conditionals, where the policy starts, how it advances."""

# ruff: noqa: E501  # tables of programs, one a line

from __future__ import annotations

import ast
import gzip
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.method.conditionals import Stages, conditional_lines
from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.records import Problem, TestSuite

DATA = Path(__file__).parents[4] / "shared" / "data"


def problem(reference: str, problem_id: str = "p/1") -> Problem:
    return Problem(
        problem_id=problem_id,
        statement="s",
        reference=reference,
        level="introductory",
        tests=TestSuite(inputs=("",), outputs=("",)),
    )


def ifs(count: int) -> str:
    """A reference with `count` conditionals, number k (0-based) on line 2k + 1."""
    return "".join(f"if x > {k}:\n    x += 1\n" for k in range(count))


def curriculum(count: int, **config: object) -> Curriculum:
    return Curriculum(CurriculumConfig.model_validate(config), [problem(ifs(count))])


SOURCES: dict[str, tuple[str, tuple[int, ...]]] = {
    "none": ("x = 1\nprint(x)\n", ()),
    "empty": ("", ()),
    "if": ("x = 1\nif x:\n    pass\n", (2,)),
    "every kind": (
        (
            "if a:\n    pass\n"
        "for b in c:\n    pass\n"
        "while d:\n    break\n"
        "match e:\n    case 1:\n        pass\n"
        "async def f():\n    async for g in h:\n        pass\n"),
        (1, 3, 5, 7, 11),
    ),
    "elif belongs to its if": ("if a:\n    x\nelif b:\n    y\nelif c:\n    z\nelse:\n    w\n", (1,)),
    "if under else counts": ("if a:\n    x\nelse:\n    if b:\n        y\n", (1, 4)),
    "if under else with its own elif": (
        "if a:\n    x\nelse:\n    if b:\n        y\n    elif c:\n        z\n",
        (1, 4),
    ),
    "if under else after elif": (
        "if a:\n    x\nelif b:\n    y\nelse:\n    if c:\n        z\n",
        (1, 6),
    ),
    "if nested in an elif": ("if a:\n    x\nelif b:\n    if c:\n        y\n", (1, 4)),
    "if first of two under else": ("if a:\n    x\nelse:\n    if b:\n        y\n    z\n", (1, 4)),
    "comment between else and if": (
        "if a:\n    x\nelse:\n    # elif\n    if b:\n        y\n",
        (1, 5),
    ),
    "elif after a comment": ("if a:\n    x\n# why\nelif b:\n    y\n", (1,)),
    "a name that starts with elif": ("if a:\n    x\nelse:\n    elifs = 1\n", (1,)),
    "nested": ("for i in a:\n    for j in b:\n        if c:\n            while d:\n                pass\n", (1, 2, 3, 4)),
    "in functions and classes": (
        "class A:\n    def f(self):\n        if self.x:\n            pass\n    for i in x:\n        pass\n",
        (3, 5),
    ),
    "in with and try": (
        "try:\n    if a:\n        pass\nexcept E:\n    while b:\n        pass\nelse:\n    for c in d:\n        pass\nfinally:\n    if e:\n        pass\n",
        (2, 5, 8, 11),
    ),
    "else of loops": ("for i in x:\n    pass\nelse:\n    if y:\n        pass\n", (1, 4)),
    "one-line body": ("if a: x = 1\nfor i in b: x = 2\n", (1, 2)),
    "comprehension": ("y = [i for i in x if i if i > 1]\nz = {i: j for i in x for j in y}\n", ()),
    "generator": ("print(sum(i for i in x if i))\n", ()),
    "ternary": ("y = 1 if x else 2\n", ()),
    "boolean operators and assert": ("y = a and b or c\nassert y\n", ()),
    "case guards belong to their match": (
        "match a:\n    case 1 if b:\n        pass\n    case _:\n        if c:\n            pass\n",
        (1, 5),
    ),
    "match as a name": ("match = 1\nmatch(x)\n", ()),
    "in a string or comment": ("s = '''\nif a:\n    pass\n'''\n# if b:\n", ()),
    "several on one line: a ternary and a comprehension beside a for": (
        "for i in [j for j in k if j]: x = 1 if i else 2\n",
        (1,),
    ),
    "header over several lines": ("x = 1\nif (a and\n        b):\n    pass\n", (2,)),
    "CRLF": ("x = 1\r\nif a:\r\n    x\r\nelif b:\r\n    y\r\nelse:\r\n    if c:\r\n        z\r\n", (2, 7)),
    "lone CR": ("x = 1\rif a:\r    x\relif b:\r    y\r", (2,)),
    "tabs": ("if a:\n\tx\nelse:\n\tif b:\n\t\ty\n\telif c:\n\t\tz\n", (1, 4)),
    "wide characters before": ("s = '变量😀'; t = 1\nif s:\n    s\nelif t: s = 'é'\n", (2,)),
    "form feed is no line end": ("x = 1\n\fif a:\n    x\n\felif b:\n    y\n", (2,)),
    "U+2028 is no line end": ("s = '\u2028'\nif s:\n    s\n", (2,)),
    "no final newline": ("x = 1\nwhile x: x -= 1", (2,)),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_conditionals_are_the_first_lines_of_if_for_while_and_match(name: str) -> None:
    source, expected = SOURCES[name]
    assert conditional_lines(source) == expected


def test_a_long_elif_chain_is_one_conditional() -> None:
    chain = "if a:\n    x\n" + "".join(f"elif b{i}:\n    x\n" for i in range(800))
    assert conditional_lines(chain + "while c:\n    x\n") == (1, 1603)


def test_a_reference_that_does_not_parse_raises_a_syntax_error() -> None:
    with pytest.raises(SyntaxError):
        conditional_lines("if x\n")


@pytest.mark.parametrize(
    ("count", "stages", "stride", "positions"),
    [  # positions[c]: 0-based number of the conditional that stage c starts at; -1: nothing given
        (0, 0, 0, [-1]),
        (1, 1, 1, [-1]),
        (2, 2, 1, [-1, 1]),
        (3, 2, 2, [-1, 2]),
        (4, 2, 2, [-1, 2]),
        (5, 3, 2, [-1, 2, 4]),
        (9, 3, 3, [-1, 3, 6]),
        (10, 4, 3, [-1, 3, 6, 9]),
        (12, 4, 3, [-1, 3, 6, 9]),
        (17, 5, 4, [-1, 4, 8, 12, 16]),
    ],
)
def test_worked_examples(count: int, stages: int, stride: int, positions: list[int]) -> None:
    lines = tuple(2 * k + 1 for k in range(count))
    found = Stages(lines)
    assert (found.stages, found.stride, found.first) == (stages, stride, len(positions) - 1)
    assert [found.start_line(c) for c in range(len(positions))] == [
        0 if k < 0 else 2 * k + 1 for k in positions
    ]
    assert conditional_lines(ifs(count)) == lines


@given(st.integers(0, 10_000))
def test_every_stage_starts_at_a_conditional_and_stage_0_gives_nothing(count: int) -> None:
    stages = Stages(tuple(range(1, count + 1)))
    assert (stages.stages - 1) ** 2 < count <= stages.stages**2 or count == stages.stages == 0
    assert stages.first == max(math.ceil(math.sqrt(count)) - 1, 0)
    assert stages.start_line(0) == 0
    lines = [stages.start_line(c) for c in range(1, stages.first + 1)]
    # the list is 1…E, so line − 1 is the position: 0 ≤ position < E, and never the first one
    assert all(0 < line - 1 < count for line in lines)
    assert lines == sorted(set(lines))
    for outside in (-1, stages.first + 1):
        with pytest.raises(ValueError, match="stage"):
            stages.start_line(outside)


def test_every_number_of_conditionals_up_to_10_000_keeps_its_last_stage_inside() -> None:
    for count in range(1, 10_001):
        stages = Stages(range(count))  # type: ignore[arg-type]
        assert 0 <= stages.stride * stages.first < count
        assert stages.stride == math.ceil(count / stages.stages)


def test_a_start_point_cuts_at_the_beginning_of_its_line() -> None:
    reference = "x = 1\r\nfor i in x:\r\n    x\r\n    if i:\r\n        y\r\n"
    point = Curriculum(CurriculumConfig(), [problem(reference)]).start_point("p/1")
    assert (point.stage, point.line) == (1, 4)
    assert reference[: point.cut] == "x = 1\r\nfor i in x:\r\n    x\r\n"


@pytest.mark.parametrize("count", [0, 1])
def test_none_or_one_conditional_gives_nothing(count: int) -> None:
    point = curriculum(count).start_point("p/1")
    assert (point.stage, point.line, point.cut) == (0, 0, 0)


def test_without_a_curriculum_nothing_is_given_and_the_reference_is_not_even_parsed() -> None:
    plain = Curriculum(CurriculumConfig(kind="none"), [problem("if x\n")])
    point = plain.start_point("p/1")
    assert (point.stage, point.line, point.cut) == (0, 0, 0)


def test_the_average_moves_and_starts_again_at_zero_on_the_next_stage() -> None:
    c = curriculum(10, alpha=0.5, threshold=0.6)  # stages 3, 2, 1, 0
    assert not c.record("p/1", 3, [True])
    assert c.state_dict() == {"p/1": [3, 0.5]}
    assert c.record("p/1", 3, [True])  # 0.75 > 0.6
    assert c.state_dict() == {"p/1": [2, 0.0]}
    assert not c.record("p/1", 2, [True, False, False, False])
    assert c.state_dict() == {"p/1": [2, 0.125]}


def test_an_average_that_equals_the_threshold_does_not_advance() -> None:
    c = curriculum(4, alpha=0.5, threshold=0.5)
    assert not c.record("p/1", 1, [True])
    assert c.state_dict() == {"p/1": [1, 0.5]}


def test_group_mean_enters_once_with_the_share_of_passes() -> None:
    c = curriculum(4, alpha=0.5, threshold=0.9, group_update="mean")
    c.record("p/1", 1, [True, True, True, False])
    assert c.state_dict() == {"p/1": [1, 0.375]}


def test_group_each_enters_one_by_one_in_order() -> None:
    c = curriculum(4, alpha=0.5, threshold=0.9, group_update="each")
    c.record("p/1", 1, [True, True, True, False])  # 0.5, 0.75, 0.875, 0.4375
    assert c.state_dict() == {"p/1": [1, 0.4375]}


def test_the_rest_of_a_group_says_nothing_about_the_stage_that_it_opened() -> None:
    c = curriculum(10, alpha=0.5, threshold=0.6, group_update="each")
    assert c.record("p/1", 3, [True, True, True, True])
    assert c.state_dict() == {"p/1": [2, 0.0]}


@pytest.mark.parametrize("stage", [3, 1, 0, 99, -1])
def test_outcomes_of_another_stage_are_ignored(stage: int) -> None:
    c = curriculum(10, alpha=1.0)
    c.record("p/1", 3, [True])
    assert not c.record("p/1", stage, [True, True])
    assert c.state_dict() == {"p/1": [2, 0.0]}


def test_an_empty_group_changes_nothing() -> None:
    c = curriculum(4)
    assert not c.record("p/1", 1, [])
    assert c.state_dict() == {"p/1": [1, 0.0]}


def test_stage_0_is_the_end() -> None:
    c = curriculum(4, alpha=1.0)
    assert c.record("p/1", 1, [True])
    assert not c.record("p/1", 0, [True])
    assert c.state_dict() == {"p/1": [0, 0.0]}


def test_one_problem_does_not_move_another_and_the_mean_is_over_all() -> None:
    c = Curriculum(CurriculumConfig(alpha=1.0), [problem(ifs(10), "a"), problem(ifs(4), "b")])
    assert c.mean_stage == 2.0
    c.record("a", 3, [True])
    assert c.state_dict() == {"a": [2, 0.0], "b": [1, 0.0]}
    assert c.mean_stage == 1.5


configs = st.fixed_dictionaries(
    {
        "alpha": st.floats(0.05, 1.0),
        "threshold": st.floats(0.0, 0.99),
        "group_update": st.sampled_from(["mean", "each"]),
    }
)
groups = st.lists(st.tuples(st.integers(-1, 6), st.lists(st.booleans(), max_size=6)), max_size=40)


@given(st.integers(0, 30), configs, groups)
def test_stages_only_go_down_by_one_and_state_survives_save_and_load(
    count: int, config: dict[str, object], history: list[tuple[int, list[bool]]]
) -> None:
    run, resumed = curriculum(count, **config), curriculum(count, **config)
    for stage, passed in history:
        before = run.start_point("p/1").stage
        moved = run.record("p/1", stage, passed)
        after = run.start_point("p/1").stage
        assert after == (before - 1 if moved else before)
        assert after >= 0
        assert not moved or (stage == before and any(passed))
        # a run that is saved and loaded after every group is the run that never stopped
        resumed.record("p/1", stage, passed)
        saved = json.dumps(resumed.state_dict())
        resumed = curriculum(count, **config)
        resumed.load_state_dict(json.loads(saved))
        assert resumed.state_dict() == run.state_dict()
        assert resumed.start_point("p/1") == run.start_point("p/1")


@given(st.integers(0, 100), configs)
def test_full_passes_reach_stage_0_in_a_bounded_number_of_groups(
    count: int, config: dict[str, object]
) -> None:
    c = curriculum(count, **config)
    alpha, threshold = float(str(config["alpha"])), float(str(config["threshold"]))
    # after n passes ρ = 1 − (1−α)ⁿ; one more for rounding
    a_stage = 1 if alpha == 1 else math.ceil(math.log(1 - threshold) / math.log(1 - alpha)) + 2
    for stage in range(c.start_point("p/1").stage, 0, -1):
        groups_needed = next(n for n in range(1, a_stage + 2) if c.record("p/1", stage, [True] * 4))
        assert groups_needed <= a_stage
    assert c.start_point("p/1").stage == 0


@given(st.integers(2, 100), configs, st.integers(1, 100))
def test_without_a_pass_nothing_ever_moves(
    count: int, config: dict[str, object], rounds: int
) -> None:
    c = curriculum(count, **config)
    before = c.state_dict()
    for _ in range(rounds):
        c.record("p/1", c.start_point("p/1").stage, [False, False])
    assert c.state_dict() == before


@pytest.mark.parametrize(
    "state",
    [
        {"other": [0, 0.0]},
        {},
        {"p/1": [2, 0.0]},
        {"p/1": [-1, 0.0]},
        {"p/1": [1, 1.5]},
        {"p/1": [1, math.nan]},
    ],
)
def test_a_checkpoint_of_another_run_is_refused_in_one_line_and_changes_nothing(
    state: dict[str, list[float]],
) -> None:
    c = curriculum(4)
    with pytest.raises(ConfigError, match="resume") as error:
        c.load_state_dict(state)
    assert "\n" not in str(error.value)
    assert c.state_dict() == {"p/1": [1, 0.0]}


def references(name: str) -> list[tuple[str, str]]:
    """(problem id, reference solution) of a real problem set."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        loaded = [json.loads(row) for row in rows]
    if name.startswith("mbpp"):
        return [(f"mbpp/{row['task_id']}", row["code"]) for row in loaded]
    return [(row["task_id"], row["prompt"] + row["canonical_solution"]) for row in loaded]


@pytest.mark.parametrize(("name", "rows"), [("mbpp.jsonl.gz", 974), ("HumanEval.jsonl.gz", 164)])
def test_real_reference_solutions_start_at_real_conditionals(name: str, rows: int) -> None:
    solutions = references(name)
    assert len(solutions) == rows
    c = Curriculum(CurriculumConfig(), [problem(code, key) for key, code in solutions])
    for key, code in solutions:
        lines = conditional_lines(code)
        physical = code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            assert (
                physical[line - 1]
                .split("#")[0]
                .strip()
                .startswith(("if", "for", "while", "async for", "match"))
            ), (key, line)
        stages = Stages(lines)
        for stage in range(stages.first, -1, -1):
            point = c.start_point(key)
            assert point.stage == stage
            assert point.line == stages.start_line(stage)
            head = code[: point.cut]
            assert head.replace("\r\n", "\n").count("\n") == max(point.line - 1, 0)
            assert (
                code[point.cut :]
                .lstrip(" \t")
                .startswith(("if", "for", "while", "async for", "match") if stage else code[:1])
            )
            for _ in range(4):
                c.record(key, stage, [True])
        assert c.start_point(key).cut == 0
    assert c.mean_stage == 0


@pytest.mark.parametrize("name", ["mbpp.jsonl.gz", "HumanEval.jsonl.gz"])
def test_real_reference_solutions_count_as_a_walk_by_statement_counts(name: str) -> None:
    """Against another way of counting: the text of every line decides on `elif`."""
    for key, code in references(name):
        text = code.replace("\r\n", "\n").split("\n")
        expected = set()
        for node in ast.walk(ast.parse(code)):
            loop = isinstance(node, ast.For | ast.AsyncFor | ast.While | ast.Match)
            is_if = isinstance(node, ast.If)
            if loop or (is_if and not text[node.lineno - 1].strip().startswith("elif")):
                expected.add(node.lineno)
        assert conditional_lines(code) == tuple(sorted(expected)), key


@pytest.mark.parametrize(("share", "moved_on"), [(0.1, 0), (0.3, 0), (0.6, 200), (1.0, 200)])
def test_the_defaults_hold_what_is_not_mastered_and_let_go_what_is(
    share: float, moved_on: int
) -> None:
    """Decision 0003: 200 problems at a constant pass rate, ten groups of 16 each."""
    draws = random.Random(0)
    moved = 0
    for _ in range(200):
        c = curriculum(4)
        for _ in range(10):
            c.record("p/1", 1, [draws.random() < share for _ in range(16)])
        moved += c.start_point("p/1").stage == 0
    assert abs(moved - moved_on) <= 2
