"""Mutants of a reference, and the choice of tests that notice them."""

from __future__ import annotations

import ast

from stepcoder_dist.data.augment.expected_values import expected_value
from stepcoder_dist.data.augment.mutants import mutants
from stepcoder_dist.data.augment.selection import covering

SOURCE = '''\
import math


def f(n: int = 3) -> bool:
    """Text."""
    total = 0
    for i in range(n):
        if i % 2 == 0 and i > 1:
            continue
        total += i
    return not total < 10


if __name__ == "__main__":
    print(f(int(input())))
'''


def changed(source, most=1000, seed=0):
    """Each mutant's lines that are not in the original."""
    original = ast.unparse(ast.parse(source)).splitlines()
    return {
        tuple(line.strip() for line in mutant.splitlines() if line not in original)
        for mutant in mutants(source, most, seed)
    }


def test_each_classic_operator_makes_its_mutants():
    assert changed("def f(a, b):\n    return a + b\n") == {
        ("return a - b",),
        ("return None",),
        ("pass",),
    }
    assert changed("def f(a):\n    if a < 1:\n        a = 2\n    return a\n") >= {
        ("if a <= 1:",),
        ("if a > 1:",),
        ("if not a < 1:",),
        ("if a < 2:",),
        ("if a < 0:",),
        ("a = 3",),
        ("a = 1",),
        ("pass",),
        ("return None",),
    }
    assert ("if a or b:",) in changed("def f(a, b):\n    if a and b:\n        return 1\n")
    assert ("break",) in changed("for a in b:\n    if a:\n        continue\n    print(a)\n")
    assert ("x = ''",) in changed("x = 'text'\n")
    assert ("x = [y for y in z if not y]",) in changed("x = [y for y in z if y]\n")


def test_mutants_compile_differ_and_leave_annotations_texts_and_imports_alone():
    found = mutants(SOURCE, 1000, 0)
    assert len(found) == len(set(found)) > 15
    for mutant in found:
        compile(mutant, "mutant", "exec")
        assert ast.unparse(ast.parse(SOURCE)) != mutant
        assert "import math" in mutant
        assert "-> bool" in mutant
        assert '"""Text."""' in mutant
        assert "__name__ == '__main__'" in mutant or "__name__" not in mutant


def test_a_change_that_makes_the_same_byte_code_is_no_mutant():
    assert changed("def f(a):\n    a + 1\n    return\n    x = 1\n") == {
        ("a - 1",),
        ("a + 2",),
        ("a + 0",),
        ("pass",),
    }


def test_few_mutants_are_of_many_kinds_and_the_same_for_a_seed():
    assert mutants(SOURCE, 8, 3) == mutants(SOURCE, 8, 3) != mutants(SOURCE, 8, 4)
    few = mutants(SOURCE, 8, 3)
    assert len(few) == 8
    lines = {line for lines in changed(SOURCE, 8, 3) for line in lines}
    assert any(line.startswith("if not") for line in lines)
    assert "return None" in lines


def test_a_source_that_does_not_compile_has_no_mutants():
    assert mutants("def f(:\n", 10, 0) == []
    assert mutants("return 1\n", 10, 0) == []


def test_the_most_telling_test_is_chosen_first_and_none_that_tells_nothing_new():
    shown = [frozenset("a"), frozenset("abx"), frozenset("c"), frozenset("ab")]
    assert covering(shown, set("abc"), 9) == [1, 2]
    assert covering(shown, set("abc"), 1) == [1]
    assert covering(shown, set("z"), 9) == []
    assert covering([], set("a"), 9) == []


def test_an_answer_of_another_kind_than_the_expected_values_is_no_test():
    assert expected_value(3, [1, 2]) == 3
    assert expected_value(2.5, [1, 2]) == 2.5
    assert expected_value(None, [1, 2]) is None
    assert expected_value("no", [1, 2]) is None
    assert expected_value(True, [1, 2]) is None
    assert expected_value(float("nan"), [1.0]) is None
    assert expected_value({1}, [[1]]) is None


def test_a_tuple_is_written_as_a_list_only_where_the_file_expects_lists():
    assert expected_value((1, (2,)), [[0]]) == [1, [2]]
    assert expected_value((1, (2,)), [(0,)]) == (1, (2,))
    assert expected_value({2: 1}, [{"a": 1}]) is None


def test_a_silent_program_and_unreadable_bytes_are_no_expected_output():
    assert expected_value("1\n", ["2\n"]) == "1\n"
    assert expected_value(" \n", ["2\n"]) is None
    assert expected_value("\n", ["\n", "2\n"]) == "\n"
    assert expected_value("\ufffd\n", ["2\n"]) is None


def test_a_source_of_hundreds_of_branches_has_mutants_and_one_too_deep_to_write_has_none():
    branches = "".join(f"elif x == {n}:\n    y = {n}\n" for n in range(400))
    assert len(mutants(f"if x:\n    y = 0\n{branches}", 3, 0)) == 3
    assert mutants(f"y = x{' + x' * 900}", 3, 0) == []
