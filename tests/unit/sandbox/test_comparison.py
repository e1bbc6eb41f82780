"""Which answers count as right."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import pytest

from sandbox.answers import comparison, plain_equality
from sandbox.answers.comparison import equal_output, equal_value
from sandbox.guest import plain_data

SAME = [
    ("tokens", "1 2\n3\n", "1 2\n3\n"),
    ("tokens", "1 2\n3", "1 2  \n3\n\n \n"),
    ("tokens", "1 2\n", "1  2\r\n"),
    ("tokens", "", "\n"),
    ("tokens", "0.5", "0.5000004"),
    ("tokens", "0.333333", "0.33333333"),
    ("tokens", "1.0", "1"),
    ("tokens", "1e3", "1000.0001"),
    ("tokens", "-.5", "-0.5"),
    ("tokens", "nan", "nan"),
    ("tokens", "ä\n", "ä"),
    ("tokens", "\nYES\nNO\n", "YES\nNO\n"),
    ("tokens", " \r\n\n 1\n", "1\n"),
    ("tokens", "\n1\n", "\n1\n"),
    ("floats", "\n3", "3.0000001"),
    ("exact", "1 \n", "1 \n"),
    ("unordered_lines", "a\nb 1.0\n", "b 1\na\n"),
    ("unordered_lines", "a\na\nb", "a\nb\na"),
    ("floats", "3", "3.0000001"),
    ("floats", "x 3", "x 3.0"),
]
DIFFERENT = [
    ("tokens", "YES NO YES", "NO YES YES"),
    ("tokens", "YES", "yes"),
    ("tokens", "1\n2", "2\n1"),
    ("tokens", "1\n2", "1 2"),
    ("tokens", "1\n\n2", "1\n2"),
    ("tokens", "1", "1\n1"),
    ("tokens", "1", "\n1"),
    ("tokens", "\n1\n\n2", "1\n2"),
    ("tokens", "\n1\n2", "1 2"),
    ("exact", "\n1\n", "1\n"),
    ("tokens", "1", ""),
    ("tokens", "3", "3.0"),
    ("tokens", "50000000000000000", "50000000000000001"),
    ("tokens", "1.0001", "1.0004"),
    ("tokens", "0.5", "0.500002"),
    ("tokens", "1.0", "nan"),
    ("tokens", "1.0", "1_0"),
    ("tokens", "10.0", "1_0"),
    ("tokens", "1.0", "0x1"),
    ("tokens", "1e999", "2e999"),
    ("tokens", "1.0", "\u0661"),
    ("tokens", "1.2.3", "1.2.30"),
    ("tokens", "a", "a\0"),
    ("exact", "1\n", "1"),
    ("exact", "0.5", "0.50"),
    ("unordered_lines", "a\na\nb", "a\nb\nb"),
    ("unordered_lines", "1 2", "2 1"),
    ("floats", "3", "3.1"),
    ("floats", "x3", "x3.0"),
]


@pytest.mark.parametrize(("how", "expected", "actual"), SAME)
def test_these_outputs_are_right(how, expected, actual):
    assert equal_output(expected, actual.encode(), how)


@pytest.mark.parametrize(("how", "expected", "actual"), DIFFERENT)
def test_these_outputs_are_wrong(how, expected, actual):
    assert not equal_output(expected, actual.encode(), how)


NEAR = [
    # expected and actual straddle a rounding boundary in opposite directions
    ("0.12345 a\n0.12345 b", "0.12344999 b\n0.1234500001 a"),
    ("0.12345 a\n0.12345 b", "0.12344999 a\n0.1234500001 b"),
    # sorted by the first number the second ones do not fit: partners have to be searched for
    ("1.0 5.0\n1.0 9.0", "1.0000001 9.0\n1.0000002 5.0"),
    ("1.0 5.0\n1.0 9.0", "1.0000002 9.0\n1.0000001 5.0"),
    # the first partner found must be given up for the other line's sake
    ("10.0\n10.00001", "10.00001\n10.000019"),
]


@pytest.mark.parametrize(("expected", "actual"), NEAR)
def test_lines_in_any_order_find_their_partners_within_the_tolerance(expected, actual):
    assert equal_output(expected, actual.encode(), "unordered_lines")


def test_each_line_needs_a_partner_of_its_own():
    assert not equal_output("1.0\n2.0", b"1.0000001\n1.0", "unordered_lines")
    assert not equal_output("1.0 a\n1.0 b", b"1.0 a\n1.0000001 a", "unordered_lines")
    assert not equal_output("3\n1.0", b"3.0\n1", "unordered_lines"), "3 is no float"


def test_many_lines_in_reverse_order_are_compared_at_once():
    expected = "\n".join(f"{i}.5 x{i}" for i in range(100_000))
    actual = "\n".join(f"{i}.5000001 x{i}" for i in reversed(range(100_000)))
    assert equal_output(expected, actual.encode(), "unordered_lines")
    values = [i + 0.5 for i in range(20_000)]
    assert equal_value(values, [v + 1e-9 for v in reversed(values)], "unordered_lines")
    words = [[str(i), i] for i in range(20_000)]
    assert equal_value(words, words[::-1], "unordered_lines")


def test_numbers_of_any_size_and_kind_are_compared_in_any_order():
    values = [10**400, -(10**400), 0, math.inf, "a", None, [1], True]
    assert equal_value(values, values[::-1], "unordered_lines")
    assert not equal_value(values, [*values[:-1], False], "unordered_lines")
    assert equal_value([math.nan, 1.0], [1.0, math.nan], "unordered_lines")


def shifted(rows: list[list[float]]) -> list[list[float]]:
    """Rows that differ from each of the others in the last place that is looked at."""
    return [[*row[:-1], row[-1] + 0.5] for row in rows]


def flood_of_sets() -> tuple[list[set[float]], list[set[float]]]:
    crowd = {1 + i * 1e-9 for i in range(300)}
    return [crowd] * 200, [{*list(crowd)[1:], 2.0}] * 200


HOLD_UPS = {
    "a set": (set(range(100_000)), set(range(1, 100_001))),
    "a set of tuples": (
        {(i, 1.0) for i in range(50_000)},
        {(i, 1.5) for i in range(50_000)},
    ),
    "long rows": ([[1.0] * 2000 for _ in range(300)], shifted([[1.0] * 2000 for _ in range(300)])),
    "many rows": ([[1.0, i] for i in range(50_000)], [[1.0, i + 0.5] for i in range(50_000)]),
    "sets in a list": flood_of_sets(),
    "long texts": (["x" * 100_000 + "a"] * 200, ["x" * 100_000 + "b"] * 200),
    "numbers of one hash": (
        [[i * (2**61 - 1)] for i in range(20_000)],
        [[i * (2**61 - 1)] for i in range(1, 20_001)],
    ),
}


@pytest.mark.parametrize("kind", HOLD_UPS)
def test_an_answer_that_differs_in_every_item_is_found_out_without_a_long_search(kind, monkeypatch):
    expected, actual = HOLD_UPS[kind]
    compared = 0

    def counting(*values: object) -> bool:
        nonlocal compared
        compared += 1
        return counted(*values)

    counted = plain_equality.equal
    monkeypatch.setattr(plain_equality, "equal", counting)
    assert not equal_value(expected, actual, "unordered_lines")
    assert compared < 3_000_000


def test_lines_of_many_numbers_are_not_searched_for_long(monkeypatch):
    compared = 0

    def counting(*tokens: object) -> bool:
        nonlocal compared
        compared += 1
        return counted(*tokens)

    counted = comparison._close
    monkeypatch.setattr(comparison, "_close", counting)
    expected = "\n".join(" ".join(["1.0"] * 1000) for _ in range(200))
    actual = "\n".join(" ".join(["1.0000001"] * 999 + ["1.5"]) for _ in range(200))
    assert not equal_output(expected, actual.encode(), "unordered_lines")
    assert compared < 3_000_000


def test_a_few_items_too_near_to_be_sorted_are_found_among_many_others():
    rest = [[float(i), "x"] for i in range(1000)]
    expected, actual = [*rest, [0.5, 5.0], [0.5, 9.0]], [[0.5 + 2e-9, 5.0], *rest[::-1]]
    assert equal_value(expected, [*actual, [0.5 + 1e-9, 9.0]], "unordered_lines")
    assert not equal_value(expected, [*actual, [0.5 + 1e-9, 9.5]], "unordered_lines")
    # the first partner found must be given up for the other's sake
    assert equal_value([10.0, 10.00001], [10.00001, 10.000019], "unordered_lines")


def test_values_that_python_would_not_write_are_compared_in_any_order():
    assert equal_value([[10**5000], [1]], [[True], [10**5000]], "unordered_lines")
    assert not equal_value([[10**5000], [1]], [[10**5000 + 1], [1]], "unordered_lines")
    assert equal_value({(1, 2.0), (3, 4)}, {(3.0, 4), (True, 2)}, "tokens")
    assert not equal_value([(1,), (2,)] * 200, [[1], [2]] * 200, "unordered_lines")
    assert equal_value([[1], [2]] * 200, [(2,), [1]] * 200, "unordered_lines")


def test_output_that_is_no_text_is_wrong_and_no_error():
    assert not equal_output("1", b"\xff\xfe\x00", "tokens")
    assert not equal_output("\ud800", b"1", "tokens")


EQUAL_VALUES = [
    ([1, 2], (1, 2)),
    ([[1], [2]], ((1,), [2])),
    (1, True),
    (1, 1.0),
    (0.3, 0.1 + 0.2),
    (3.0, 3),
    (math.nan, math.nan),
    ([math.nan], [math.nan]),
    (math.inf, math.inf),
    ({"1": 2.0}, {1: 2.0000001}),
    ({"true": 1, "null": 2, "1.5": 3}, {True: 1, None: 2, 1.5: 3}),
    ({1, 2}, frozenset({1, 2})),
    ({0.3}, {0.1 + 0.2}),
    (None, None),
    (10**400, 10**400),
    (1 + 2j, 1 + 2j),
]
UNEQUAL_VALUES = [
    ((1, 2), [1, 2]),
    ([1], 1),
    ([1, 2], [1]),
    (1, 1.0000001),
    (1, "1"),
    ([1, 2], {1, 2}),
    ([], {}),
    (0.3, 0.30001),
    (1.0, 10**400),
    (1.0, "1.0"),
    (None, False),
    (0, None),
    ({"1": 2}, {1: 2, "1": 2}),
    ({"a": 1}, {"b": 1}),
    ({1: 2}, {"1": 2}),
    ("ab", ["a", "b"]),
    ([1, 2], [2, 1]),
]


@pytest.mark.parametrize(("expected", "actual"), EQUAL_VALUES)
def test_these_values_are_right(expected, actual):
    assert equal_value(expected, plain_data.decode(plain_data.encode(actual)), "tokens")


@pytest.mark.parametrize(("expected", "actual"), UNEQUAL_VALUES)
def test_these_values_are_wrong(expected, actual):
    assert not equal_value(expected, plain_data.decode(plain_data.encode(actual)), "tokens")


TWINS = [
    ([1], (1,)),
    ([[1]], [(1,)]),
    ({"1": [2]}, {1: [2]}),
    ({"a": [1]}, {"a": (1,)}),
]
ALIKE = [([1, 0.3], [True, 0.1 + 0.2]), ((1, [2]), (1, [2])), ({1: {2}}, {1.0: {2}})]


def test_types_that_json_cannot_tell_apart_differ_where_types_are_strict():
    for expected, actual in TWINS:
        assert equal_value(expected, actual, "tokens")
        assert not equal_value(expected, actual, "tokens", strict=True)
    for expected, actual in ALIKE:
        assert equal_value(expected, actual, "tokens", strict=True)
    pairs = [[i % 5, i % 7] for i in range(3000)]
    tuples = [tuple(pair) for pair in reversed(pairs)]
    assert equal_value(pairs, tuples, "unordered_lines")
    assert not equal_value(pairs, tuples, "unordered_lines", strict=True)


def test_exact_knows_no_tolerance_and_unordered_lines_ignores_the_outer_order():
    assert not equal_value(0.3, 0.1 + 0.2, "exact")
    assert equal_value([1, 2.0], [2, 1], "unordered_lines")
    assert not equal_value([1, 1, 2], [1, 2, 2], "unordered_lines")


@pytest.mark.parametrize("how", ["tokens", "floats", "unordered_lines"])
def test_floods_of_lines_or_tokens_are_never_split_further_than_the_expected_output(how):
    floods = [b"\n" * 2**22 + b"1", b"1 " * 2**21, b"1\n" * 2**20 + b"2"]
    tracemalloc.start()
    try:
        assert not any(equal_output("1 2\n3\n", flood, how) for flood in floods)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_exact_numbers_are_numbers_in_any_order_too():
    half, three = Fraction(1, 2), 3
    assert equal_value([0.5, 3], [three, half], "unordered_lines")
    assert not equal_value([0.5, 3], [Fraction(1, 3), three], "unordered_lines")
    assert equal_value({0.5: 1}, {half: 1}, "tokens", strict=True)
