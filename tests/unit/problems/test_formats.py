"""Rows of published sets become problems; what none of them has is said with the nearest format."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import zlib
from typing import Any

import published_rows as made
import pytest

from stepcoder_dist import problems
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems.formats import FORMATS
from stepcoder_dist.problems.levels import apps_level, ordered
from stepcoder_dist.problems.row_parts import evalplus_oracle, text_pickle
from stepcoder_dist.records import LEVELS, Problem


def read(row: dict[str, Any]) -> Problem:
    return problems.problem_from_row(row, "set.jsonl:17")


@pytest.mark.parametrize(
    ("name", "problem_id", "level", "fn_name", "tests"),
    [
        ("TACO", "taco/17", "MEDIUM_HARD", None, 2),
        ("LiveCodeBench", "livecodebench/own1_a", "easy", None, 3),
        ("LiveCodeBench, called", "livecodebench/own2", "easy", "add", 2),
        ("CodeContests", "code_contests/7_C. Sum", "C", None, 3),
        ("HumanEval+", "humanevalplus/900", "introductory", "half", 3),
        ("HumanEval+ on the hub", "humanevalplus/900", "introductory", "half", 3),
        ("MBPP+", "mbppplus/2", "introductory", "similar_elements", 2),
        ("MBPP+ on the hub", "mbppplus/900", "introductory", "half", 3),
        ("LeetCodeDataset", "leetcode/sum-of-both", "Easy", "add", 2),
        ("LeetCodeDataset, lists", "leetcode/reverse", "Easy", "stepcoder_call", 2),
        ("LeetCodeDataset, trees", "leetcode/mirror", "Easy", "stepcoder_call", 2),
        ("KodCode", "kodcode/Own_1_I", "easy", "add", 3),
        ("KodCode with pytest", "kodcode/Own_2_I", "medium", None, 1),
        ("AceCode", "acecode/own_1", "introductory", "add", 2),
    ],
)
def test_a_published_row_keeps_its_id_and_level_and_all_its_tests(
    name, problem_id, level, fn_name, tests
):
    problem = read(made.ROWS[name])
    assert (problem.problem_id, problem.level) == (problem_id, level)
    assert (problem.tests.fn_name, len(problem.tests)) == (fn_name, tests)
    assert problem.statement
    assert bool(problem.reference) == (name not in made.RIGHT)


def test_every_format_of_the_registry_recognises_its_rows_and_no_other_takes_them():
    seen = {next(known.name for known in FORMATS if known.fits(row)) for row in made.ROWS.values()}
    others = {"APPS", "our own"}  # rows of these are in test_problems.py
    assert seen | others == {known.name for known in FORMATS}


def test_arguments_by_name_are_put_in_the_order_of_the_method():
    assert read(made.LEETCODE).tests.inputs == ([1, [2]], [4, []])
    assert read(made.LEETCODE).tests.outputs == (3, 4)
    assert read(made.LEETCODE).tests.setup_code == "from typing import *\n"


def test_lists_and_trees_are_values_that_the_program_makes_nodes_of():
    lists, trees = read(made.LEETCODE_NODES).tests, read(made.LEETCODE_TREE).tests
    assert (lists.inputs, lists.outputs) == (([[1, 2, 3]], [[]]), ([3, 2, 1], []))
    assert trees.inputs == ([[1, 2, 3, None, 4], 9], [[], 1])
    assert trees.outputs == ([1, 3, 2, None, None, 4], [])
    assert "Solution().mirror(*made)" in trees.setup_code
    mixed = made.LEETCODE_TREE["test"].replace("root = tree_node([])", "root = None")
    assert read(made.LEETCODE_TREE | {"test": mixed}).tests.test_code == mixed


def test_limits_are_read_however_the_source_writes_them():
    taco, contests = read(made.TACO).tests, read(made.CODE_CONTESTS).tests
    assert (taco.cpu_limit_s, taco.memory_limit_bytes) == (2.5, 64 * 2**20)
    assert (contests.cpu_limit_s, contests.memory_limit_bytes) == (1.5, 2**26)
    nothing = made.TACO | {"time_limit": "O(n) seconds", "memory_limit": None}
    assert (read(nothing).tests.cpu_limit_s, read(nothing).tests.memory_limit_bytes) == (None,) * 2
    fast = made.TACO | {"time_limit": "500 milliseconds", "memory_limit": "2048 kilobytes"}
    assert (read(fast).tests.cpu_limit_s, read(fast).tests.memory_limit_bytes) == (0.5, 2**21)


@pytest.mark.parametrize(
    "odd", [{"time_limit": {"seconds": 10**400}}, {"memory_limit_bytes": 10**400}]
)
def test_a_limit_that_no_float_holds_is_a_row_that_cannot_be_used(odd: dict[str, object]):
    with pytest.raises(ProblemError, match=r"time_limit has no number|no size of a memory"):
        problems.problem_from_row(made.CODE_CONTESTS | odd, "x:1")


def test_only_python_3_solutions_of_code_contests_are_taken():
    assert read(made.CODE_CONTESTS).reference == made.ADDS
    rows = [{"language": 3, "solution": "x = 1\n"}, {"language": 2, "solution": "int x;"}]
    assert read(made.CODE_CONTESTS | {"solutions": rows}).reference == "x = 1\n"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (made.CODE_CONTESTS | {"input_file": "in.txt"}, "use a file (input_file is 'in.txt')"),
        (made.CODE_CONTESTS | {"difficulty": 99}, "difficulty is 99, not 0 to 28"),
        (
            made.CODE_CONTESTS | {"public_tests": {"input": ["1"], "output": []}},
            "public_tests is no object with lists of equal length: input, output",
        ),
        (made.LIVECODEBENCH_CALLED | {"metadata": "{}"}, "metadata names no func_name"),
        (
            made.LIVECODEBENCH | {"private_test_cases": "!"},
            "private_test_cases cannot be read: Only base64 data is allowed",
        ),
        (made.HUMANEVAL_PLUS | {"base_input": [1]}, "base_input is no list of lists of arguments"),
        (made.MBPP_PLUS | {"base_input": [[1, 2]]} | {"task_id": "Mbpp/722"}, "an input has not"),
        (
            made.MBPP_PLUS_ON_THE_HUB | {"test": "inputs = [f()]\nresults = [1]"},
            "its test has no inputs and results that are plain data",
        ),
        (made.KODCODE | {"test": "x ="}, "its test does not parse"),
        (made.KODCODE | {"test": "x = 1"}, "its test has no test function"),
        (
            {"question_content": "q", "public_test_cases": "[]", "platform": "x"},
            "LiveCodeBench is nearest and lacks question_id, private_test_cases",
        ),
        (
            {"question": "q", "solutions": "[]", "url": "u"},
            "APPS is nearest and lacks input_output",
        ),
        (
            {"statement": "q", "reference": "r"},
            "our own is nearest and lacks inputs or outputs or test_code",
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row, complaint):
    with pytest.raises(ProblemError) as caught:
        read(row)
    assert complaint in str(caught.value)


def test_levels_have_an_order_and_each_counts_as_one_of_apps():
    assert ordered(["HARD", "EASY", "MEDIUM_HARD", "VERY_HARD", "MEDIUM", "EASY"]) == [
        *("EASY", "MEDIUM", "MEDIUM_HARD", "HARD", "VERY_HARD")
    ]
    assert ordered(LEVELS) == list(LEVELS)
    assert [apps_level(name) for name in ("Easy", "MEDIUM_HARD", "hard", "interview", "F")] == [
        *("introductory", "interview", "competition", "interview", "competition")
    ]


class _Runs:
    """An object whose unpickling runs a command."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_read_as_text_and_lists_and_never_unpickled(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for value in ("ä" * 70_000, ["a", ["b"], []], [7, 2.5, "x"]):
        assert text_pickle.read(pickle.dumps(value, protocol)) == value
    for other in (_Runs(), {"a": 1}, ("a",), {1}, b"a", None, [_Runs()]):
        with pytest.raises(ValueError, match=r"more than texts and lists"):
            text_pickle.read(pickle.dumps(other, protocol))
    for damaged in (b"", b".", b"]a.", pickle.dumps("a", protocol)[:-1], b"\x80\x09X"):
        with pytest.raises(ValueError, match=r"."):
            text_pickle.read(damaged)
    assert not any(tmp_path.iterdir())


def test_private_tests_that_would_run_something_are_a_bad_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = base64.b64encode(zlib.compress(pickle.dumps(_Runs()))).decode()
    with pytest.raises(
        ProblemError, match=r"private_test_cases cannot be read: a pickle with more"
    ):
        read(made.LIVECODEBENCH | {"private_test_cases": hostile})
    assert not any(tmp_path.iterdir())


def test_nothing_of_a_row_is_executed_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = "import os\nos.mkdir('executed')\n"
    for row in made.ROWS.values():
        hostile = copy.deepcopy(row)
        for key in ("canonical_solution", "completion", "solution", "test", "code"):
            if key in hostile:
                hostile[key] = f"{hostile[key]}\n{runs}"
        if "test_cases" in hostile:
            hostile["test_cases"].append("assert __import__('os').mkdir('executed') is None")
        problems.problem_from_row(hostile, "set.jsonl:1")
    assert not any(tmp_path.iterdir())


def test_lists_that_json_made_of_tuples_are_tuples_again():
    assert read(made.MBPP_PLUS).tests.inputs == ([(1, 2, 3), (3, 2)], [(), (5,)])
    nested = made.MBPP_PLUS | {"base_input": [[[[1, 2], [3, 4]]]], "plus_input": []}
    assert read(nested | {"task_id": "Mbpp/63"}).tests.inputs == ([[(1, 2), (3, 4)]],)
    assert read(nested | {"task_id": "Mbpp/401"}).tests.inputs == ([((1, 2), (3, 4))],)
    assert read(nested | {"task_id": "Mbpp/580"}).tests.inputs == ([((1, 2), (3, 4))],)
    assert read(nested | {"task_id": "Mbpp/3"}).tests.inputs == ([[[1, 2], [3, 4]]],)
    placed = nested | {"base_input": [[[1, 2], [3]]]}
    assert read(placed | {"task_id": "Mbpp/106"}).tests.inputs == ([[1, 2], (3,)],)
    assert read(placed | {"task_id": "Mbpp/250"}).tests.inputs == ([(1, 2), [3]],)
    number = nested | {"base_input": [["1.5", "(2+3j)"]], "task_id": "Mbpp/124"}
    assert read(number).tests.inputs == ([1.5, 2 + 3j],)


@pytest.mark.parametrize(
    ("name", "mbpp", "tolerance", "arguments", "expected", "right", "wrong"),
    [
        ("f", False, 0.0, [], 3, [3, 3.0], [4, None, "3"]),
        ("f", False, 0.0, [], [1, 2], [[1, 2]], [(1, 2), [2, 1], [1]]),
        ("f", False, 0.0, [], 1.0, [1.0, 1.0 + 9e-7, 1], [1.01, "1"]),
        ("f", False, 0.0, [], [0.5, 0.25], [[0.5, 0.25 + 1e-7]], [[0.5], (0.5, 0.25 + 1e-7)]),
        ("f", False, 1e-3, [], 10, [10], [11, 10.5]),
        ("f", False, 0.0, [], float("inf"), [float("inf")], [1e300]),
        ("f", False, 0.0, [], [float("nan")], [[float("nan")]], [[1.0]]),
        ("find_zero", False, 1e-4, [[-2, 1]], None, [2.0, 2.00001], [2.1, "2"]),
        ("similar_elements", True, 0.0, [], (1, 2), [(2, 1), [1, 2, 2]], [(1,), 5]),
        ("check_str", True, 0.0, [], True, [True, "match", []], [False, None]),
        ("sum_div", True, 0.0, [], 7, [7, 0], [1]),
        ("digit_distance_nums", True, 0.0, [1, 23], 99, [99, 4], [5]),
        ("surface_Area", True, 0.0, [3, 4], 99, [99, 35], [33]),
        ("are_equivalent", True, 0.0, [], True, [False], []),
    ],
)
def test_evalplus_own_rules_decide_what_is_right(
    monkeypatch, name, mbpp, tolerance, arguments, expected, right, wrong
):
    monkeypatch.setattr(evalplus_oracle, "NAME", name)
    monkeypatch.setattr(evalplus_oracle, "MBPP", mbpp)
    monkeypatch.setattr(evalplus_oracle, "TOLERANCE", tolerance)
    for answer in right:
        assert evalplus_oracle.check(arguments, expected, answer) is True, answer
    for answer in wrong:
        assert evalplus_oracle.check(arguments, expected, answer) is False, answer


def test_a_row_of_any_format_is_written_and_read_back_as_the_same_problem():
    from stepcoder_dist.problems.own_format import row_from_problem

    for row in made.ROWS.values():
        problem = read(row)
        assert read(json.loads(json.dumps(row_from_problem(problem)))) == problem
