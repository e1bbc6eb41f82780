"""Problem rows: every format, and every habit of APPS."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist import problems
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems import files as problem_files
from stepcoder_dist.problems.own_format import row_from_problem
from stepcoder_dist.problems.tests import LEETCODE_IMPORTS
from stepcoder_dist.records import Problem

STDIN = {"problem_id": "a/1", "inputs": ["1\n"], "outputs": ["2\n"], "fn_name": None}
CALL = {"problem_id": "a/2", "inputs": [[1, 2]], "outputs": [3], "fn_name": "add"}


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def read(row: dict[str, Any]) -> Problem:
    return problems.problem_from_row(row, "set.jsonl:1")


def test_a_judge_row_on_standard_input_keeps_its_texts_as_they_are():
    problem = read({**STDIN, "time_limit_s": 2, "memory_limit_mb": 64, "comparison": "exact"})
    assert problem.problem_id == "a/1"
    assert problem.tests.inputs == ("1\n",)
    assert problem.tests.outputs == ("2\n",)
    assert problem.tests.fn_name is None
    assert problem.tests.comparison == "exact"
    assert problem.tests.cpu_limit_s == 2.0
    assert problem.tests.memory_limit_bytes == 64 * 2**20
    assert (problem.statement, problem.reference, problem.level) == ("", "", "introductory")


def test_a_judge_row_by_call_has_argument_lists_and_return_values():
    tests = read(CALL).tests
    assert (tests.inputs, tests.outputs, tests.fn_name) == (([1, 2],), (3,), "add")


def test_a_judge_row_means_one_element_lists_literally_unless_it_is_from_apps():
    row = {"inputs": [[1], [2]], "outputs": [[1], [2]], "fn_name": "f"}
    assert read({"problem_id": "mine/1", **row}).tests.outputs == ([1], [2])
    assert read({"problem_id": "apps/4184", **row}).tests.outputs == (1, 2)


def test_our_own_schema_goes_through_json_and_back():
    problem = read(
        {
            "problem_id": "apps/7",
            "statement": "add",
            "reference": "def f(x):\n    return x\n",
            "level": "interview",
            "inputs": [['"a"'], ['"b"']],
            "outputs": [[1], [2]],
            "fn_name": "f",
            "starter_code": "def f(x):",
            "time_limit_s": 1.5,
        }
    )
    row = json.loads(json.dumps(row_from_problem(problem)))
    assert row["canonical_solution"] == problem.reference
    assert row["prompt"] == "add"
    assert row["difficulty"] == "interview"
    assert read(row) == problem
    other = problems.rewrapped(problem)
    assert other.tests.outputs == ([1], [2])
    assert read(json.loads(json.dumps(row_from_problem(other)))) == other


CHECKER = "def check(input, expected, actual):\n    return True\n"


def test_a_row_may_bring_its_own_checker_and_keeps_it_through_json():
    problem = read({**STDIN, "checker": CHECKER.replace("\n", "\r\n"), "statement": "any"})
    assert problem.tests.checker == CHECKER
    assert read(json.loads(json.dumps(row_from_problem(problem)))) == problem
    imported = "from math import isclose as check\n"
    assert read({**STDIN, "checker": imported}).tests.checker == imported


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"checker": "def check(:"}, "its checker does not parse: line 1: "),
        ({"checker": "def verify(i, e, a): pass"}, "its checker defines no function check"),
        ({"checker": CHECKER, "comparison": "exact"}, "both a comparison and a checker"),
        ({"checker": 5}, "checker is an int, not text"),
    ],
)
def test_a_checker_that_cannot_be_used_is_refused_where_it_stands(fields, complaint):
    with pytest.raises(ProblemError, match=r"set\.jsonl:1: .*" + re.escape(complaint)):
        read(STDIN | fields)


def test_tests_that_json_cannot_hold_are_written_as_python_text():
    problem = read({"task_id": 3, "code": "", "text": "", "test_list": ["assert f(1) == (1, {2})"]})
    row = json.loads(json.dumps(row_from_problem(problem)))
    assert (row["values"], row["inputs"], row["outputs"]) == ("python", ["[1]"], ["(1, {2})"])
    assert read(row) == problem
    tests = dataclasses.replace(problem.tests, outputs=(object(),))
    with pytest.raises(ProblemError, match=r"mbpp/3.*cannot be written \(a object is no"):
        row_from_problem(dataclasses.replace(problem, tests=tests))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"values": "yaml"}, "values is 'yaml', not 'python'"),
        ({"values": "python", "inputs": [[1]]}, "inputs is no list of Python literals"),
        ({"values": "python", "inputs": ["open('x')"]}, "inputs: \"open('x')\" is no plain data"),
    ],
)
def test_python_text_that_is_no_plain_data_is_refused(fields, complaint):
    with pytest.raises(ProblemError, match=re.escape(complaint)):
        read(STDIN | fields)


def test_apps_plus_rows_without_an_id_are_numbered_by_their_line():
    row = {"prompt": "p", "canonical_solution": "x = 1", "inputs": ["1"], "outputs": ["2"]}
    assert problems.problem_from_row(row, "data/apps_plus.json:412").problem_id == "apps_plus/412"
    assert problems.problem_from_row({**row, "id": 9}, "x:1").problem_id == "apps_plus/9"


def test_apps_jsonl_holds_json_in_its_fields():
    problem = read(
        {
            "problem_id": 2404,
            "question": "q\r\nr",
            "solutions": json.dumps(["print 1", "print(1)"]),
            "input_output": json.dumps({"inputs": [["1", "2"]], "outputs": ["3\n"]}),
            "difficulty": "competition",
            "starter_code": "",
        }
    )
    assert problem.problem_id == "apps/2404"
    assert problem.statement == "q\nr"
    assert problem.reference == "print(1)"  # the first solution that Python 3 compiles
    assert problem.level == "competition"
    assert problem.tests.inputs == ("1\n2",)  # a list of lines is one standard input


def test_mbpp_asserts_become_call_tests_and_its_line_ends_become_unix_ones():
    problem = read(
        {
            "task_id": 601,
            "text": "Add.",
            "code": "def f(a):\r\n    return (a,)",
            "test_setup_code": "",
            "test_list": ["assert f(1) == (1,)", "assert f({2}) == ({2},)"],
            "challenge_test_list": ["assert f(3) == 4"],
        }
    )
    assert problem.problem_id == "mbpp/601"
    assert problem.reference == "def f(a):\n    return (a,)"
    assert problem.statement == (
        "Add.\nYour code should pass these tests:\nassert f(1) == (1,)\nassert f({2}) == ({2},)"
    )
    assert problem.tests.fn_name == "f"
    assert problem.tests.inputs == ([1], [{2}])
    assert problem.tests.outputs == ((1,), ({2},))
    assert problem.tests.test_code == ""


def test_a_list_in_an_assert_is_no_tuple_also_after_json_and_back():
    row = {"task_id": 3, "code": "", "text": "", "test_list": ["assert f(1) == [2]"]}
    problem = read(row)
    assert problem.tests.strict_types
    assert read(json.loads(json.dumps(row_from_problem(problem)))) == problem
    assert not read({**row, "test_list": ["assert tuple(f(1)) == (2,)"]}).tests.strict_types
    assert not read(CALL).tests.strict_types


def test_an_mbpp_assert_that_is_no_plain_data_keeps_the_whole_script():
    problem = read(
        {
            "task_id": 1,
            "text": "",
            "code": "import sys\ndef f(x):\n    return 1",
            "test_setup_code": "a = 1\r\nb = 2",
            "test_list": ["assert f(1) == 1", "assert f(a) == sys.getsizeof(1)"],
        }
    )
    assert problem.tests.inputs == ()
    assert problem.tests.fn_name is None
    assert problem.tests.entry_point == "f"
    assert problem.tests.setup_code == "a = 1\nb = 2\n"
    assert problem.tests.test_code == (
        "import sys\nassert f(1) == 1\nassert f(a) == sys.getsizeof(1)"
    )


def test_a_human_eval_prompt_and_its_solution_are_the_reference():
    problem = read(
        {
            "task_id": "HumanEval/12",
            "prompt": "import math\n\ndef help(x):\n    return x\n\n\ndef f(x):\n    '''doc'''\n",
            "canonical_solution": "    return help(x)\n",
            "entry_point": "f",
            "test": "METADATA = {}\ndef check(candidate):\n    assert candidate(1) == True\n",
        }
    )
    assert problem.problem_id == "humaneval/12"
    assert problem.statement.startswith("import math\n\ndef help")
    assert problem.reference.endswith("'''doc'''\n    return help(x)\n")
    assert problem.tests.fn_name == "f"
    assert (problem.tests.inputs, problem.tests.outputs) == (([1],), (True,))
    assert problem.tests.setup_code == "import math\n\ndef help(x):\n    return x\n"


def test_an_apps_folder_is_read_problem_by_problem(tmp_path: Path):
    folder = tmp_path / "train"
    (folder / "0007").mkdir(parents=True)
    (folder / "0007" / "question.txt").write_text("q")
    (folder / "0007" / "input_output.json").write_text('{"inputs": ["1"], "outputs": ["2"]}')
    (folder / "0007" / "solutions.json").write_text('["print(2)"]')
    (folder / "0007" / "metadata.json").write_text('{"difficulty": "interview"}')
    (found,) = problems.load(folder)
    assert (found.problem_id, found.level, found.reference) == (
        "apps/0007",
        "interview",
        "print(2)",
    )
    assert problems.load(folder / "0007")[0] == found
    (folder / "0007" / "input_output.json").unlink()
    with pytest.raises(ProblemError) as caught:
        problems.load(folder)
    assert str(caught.value) == (
        f'{folder}/0007: no tests (problem "apps/0007"); {problem_files.FIX}'
    )


@pytest.mark.parametrize(
    ("reference", "outputs"),
    [
        ("def f(x):\n    return x > 1\n", (1, 2)),
        ("def f(x):\n    return [x]\n", ([1], [2])),
        ("def f(x) -> List[int]:\n    return g(x)\n", ([1], [2])),
        ("def f(x) -> 'int':\n    return g(x)\n", (1, 2)),
        ("def f(x):\n    if x:\n        return None\n    return sorted(x)\n", ([1], [2])),
        ("class Solution:\n    def f(self, x):\n        return len(x)\n", (1, 2)),
        ("", (1, 2)),
    ],
)
def test_wrapped_return_values_are_settled_by_what_the_reference_returns(
    reference: str, outputs: tuple[Any, ...]
):
    row = {"problem_id": "apps/1", "inputs": [[1], [2]], "outputs": [[1], [2]], "fn_name": "f"}
    assert read({**row, "reference": reference}).tests.outputs == outputs


def test_wrapped_values_are_one_reading_for_all_tests_of_a_problem():
    row = {"problem_id": "apps/1", "inputs": [[1], [2]], "outputs": [[1], [2, 3]], "fn_name": "f"}
    assert read(row).tests.outputs == ([1], [2, 3])


def test_a_reading_that_only_a_run_could_settle_is_named(tmp_path: Path):
    row = {"inputs": [[1]], "outputs": [[1]], "fn_name": "f"}
    told = {**row, "problem_id": "apps/2", "starter_code": "def f(x) -> List[int]:\n    "}
    loaded = problems.load(jsonl(tmp_path / "a.jsonl", {**row, "problem_id": "apps/1"}, told))
    assert loaded.account.unsettled == ["apps/1"]
    assert [p.tests.outputs for p in loaded] == [(1,), ([1],)]


def test_json_text_arguments_are_decoded_only_if_all_of_them_are_json():
    row = {"problem_id": "apps/1", "fn_name": "f", "outputs": ['"x"', 3]}
    tests = read({**row, "inputs": [['"rab"', "[1]"], ['"b"', 4]]}).tests
    assert tests.inputs == (["rab", [1]], ["b", 4])
    assert tests.outputs == ("x", 3)
    assert read({**row, "inputs": [['"rab"', "x"], ['"b"', 4]]}).tests.inputs == (
        ['"rab"', "x"],
        ['"b"', 4],
    )
    # a function of digits as text looks just like numbers as JSON text
    assert read({**row, "inputs": [["12"], ["34"]]}).tests.inputs == (["12"], ["34"])
    # and outside of APPS a text is a text
    assert read({**row, "problem_id": "b/1", "inputs": [['"a"'], ["[]"]]}).tests.inputs == (
        ['"a"'],
        ["[]"],
    )


def test_line_ends_of_apps_inputs_become_unix_ones_and_those_of_other_rows_stay():
    row = {**STDIN, "inputs": ["a\r\nb\rc\r\n"]}
    assert read({**row, "problem_id": "apps/1"}).tests.inputs == ("a\nb\rc\n",)
    assert read(row).tests.inputs == ("a\r\nb\rc\r\n",)


def test_tests_in_the_way_of_livecodebench_are_a_line_of_json_for_each_argument():
    row = {"problem_id": "b/1", "fn_name": "f", "inputs": ["[1, 2]\n3", '["a"]\n-1\n']}
    tests = read({**row, "outputs": ["[4, 5]", "null"]}).tests
    assert tests.inputs == ([[1, 2], 3], [["a"], -1])
    assert tests.outputs == ([4, 5], None)
    # values that are no text are taken as they are, and then a text is no list of arguments
    for outputs in ([[4, 5], None], ["[4, 5]", "x"]):
        with pytest.raises(ProblemError, match="input 1 is a str, not a list of arguments"):
            read({**row, "outputs": outputs})


def test_dictionary_arguments_of_apps_have_integer_keys_where_all_of_them_could_be():
    row = {"problem_id": "apps/1", "fn_name": "f", "outputs": [1, 2]}
    inputs = [[{"1": 2, "-30": {"4": 5}}, "6"], [{}, "0"]]
    assert read({**row, "inputs": inputs}).tests.inputs == (
        [{1: 2, -30: {"4": 5}}, "6"],
        [{}, "0"],
    )
    for key in ("a", "01", "1.0", ""):
        texts = [[{"1": 2}], [{key: 2}]]
        assert read({**row, "inputs": texts}).tests.inputs == tuple(texts)
    assert read({**row, "problem_id": "b/1", "inputs": inputs}).tests.inputs == tuple(inputs)


@pytest.mark.parametrize("fn_name", [None, "", "kqzfw"])
def test_a_wrapper_around_a_standard_input_program_gets_the_call_it_lacks(fn_name: str | None):
    source = "import sys\ndef kqzfw():\n    print(int(input()) + 1)\n"
    row = {"prompt": "", "canonical_solution": source, "inputs": ["1"], "outputs": ["2"]}
    problem = read({**row, "fn_name": fn_name})
    assert problem.tests.fn_name is None
    assert problem.reference == source + "\n\nkqzfw()\n"


def test_a_program_that_does_something_is_left_as_it_is():
    source = "def kqzfw():\n    print(int(input()) + 1)\nkqzfw()\n"
    row = {"prompt": "", "canonical_solution": source, "inputs": ["1"], "outputs": ["2"]}
    assert read(row).reference == source


def test_a_bare_method_gets_its_class():
    source = (
        "import math\n\ndef f(self, a, b):\n    '''Two\n    lines.'''\n"
        "    return self.g(a)\n\ndef g(self, a):\n    return a"
    )
    row = {"prompt": "", "canonical_solution": source, "fn_name": "f"}
    problem = read({**row, "inputs": [["a", "b"]], "outputs": ["a"]})
    assert problem.reference == (
        "import math\n\n\nclass Solution:\n"
        "    def f(self, a, b):\n        '''Two\n        lines.'''\n        return self.g(a)\n"
        "    def g(self, a):\n        return a\n"
    )


def test_a_bare_method_with_a_text_over_lines_keeps_the_text():
    source = "def f(self):\n    return '''a\nb'''\n"
    row = {"prompt": "", "canonical_solution": source, "fn_name": "f"}
    problem = read({**row, "inputs": [[]], "outputs": ["a\nb"]})
    assert problem.reference == source + "\n\nclass Solution:\n    f = f\n"
    names: dict[str, Any] = {}
    exec(problem.reference, names)
    assert names["Solution"]().f() == "a\nb"


def test_call_based_apps_problems_get_the_imports_that_their_solutions_rely_on():
    row = {"inputs": [[1]], "outputs": [1], "fn_name": "f"}
    assert read({**row, "problem_id": "apps/1"}).tests.setup_code == LEETCODE_IMPORTS
    starter = {"starter_code": "class Solution:\n    def f(self, x: List[int]):\n        "}
    assert read({**row, **starter, "problem_id": "b/1"}).tests.setup_code == LEETCODE_IMPORTS
    assert read({**row, "problem_id": "b/1"}).tests.setup_code == ""
    names: dict[str, Any] = {}
    exec(LEETCODE_IMPORTS, names)
    assert "pow" not in names  # math's would hide the built-in with three arguments
