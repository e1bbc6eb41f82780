"""Assert scripts: which become call tests, and which stay as they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from stepcoder_dist.problems.assert_script import CallTests, call_tests


@pytest.mark.parametrize(
    ("script", "inputs", "outputs"),
    [
        ("assert f(1, 'a') == [1]", [[1, "a"]], [[1]]),
        ("assert 3 == f()", [[]], [3]),
        ("assert (f(-1)) == -2.5, 'why'", [[-1]], [-2.5]),
        ("assert f(1) is None\nassert f(2) == False", [[1], [2]], [None, False]),
        ("assert abs(f(1) - 2/4) < 1e-6", [[1]], [0.5]),
        ("assert f(2 ** 70) == 'a' * 3", [[2**70]], ["aaa"]),
        ("assert f(float('inf')) == set([1])", [[math.inf]], [{1}]),
        ("assert f(b'x', 1j) == {(1, 2): None}", [[b"x", 1j]], [{(1, 2): None}]),
        ("assert True\nassert f(1) == 2\nprint", [[1]], [2]),
        ("def check(g):\n    '''x'''\n    assert g(1) == 2", [[1]], [2]),
    ],
)
def test_asserts_of_these_forms_become_call_tests(
    script: str, inputs: list[Any], outputs: list[Any]
):
    assert call_tests(script, "f") == CallTests(
        fn_name="f", inputs=tuple(inputs), outputs=tuple(outputs)
    )


def test_an_assert_that_makes_a_sequence_first_takes_any_sequence():
    for script in ("assert tuple(f(1)) == tuple([1, 2])", "assert [1, 2] == list(f(1))"):
        assert call_tests(script, "f") == CallTests(
            fn_name="f", inputs=([1],), outputs=([1, 2],), any_sequence=True
        )


@pytest.mark.parametrize(
    "script",
    [
        "assert f(x) == 1",
        "assert f(1) == g(1)",
        "assert f(1) == f(2)",
        "assert f(a=1) == 1",
        "assert f(1) != 1",
        "assert f(1)",
        "assert not f(1)",
        "assert f(1) is True",
        "assert f(1) == 1 == 1",
        "assert f(1) in (1, 2)",
        "assert abs(f(1) - 2) < 0.1",
        "assert int(f(1)) == 2",
        "assert g(1) == 2",
        "assert x.f(1) == 2",
        "for i in range(3):\n    assert f(i) == i",
        "x = 1\nassert f(1) == 2",
        "assert f(10 ** 10 ** 10) == 1",
        "assert f('a' * 10 ** 9) == 1",
        "assert f(1) == 1 / 0",
        "assert f(1) == ...",
        "assert True",
        "def check(a, b):\n    assert a(1) == 2",
        "assert f(1) == ",
        "",
        "assert f(\0) == 1",
    ],
)
def test_asserts_of_other_forms_stay_a_script(script: str):
    assert call_tests(script, "f") is None


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(PLAIN, max_size=3), PLAIN)
def test_any_plain_data_in_an_assert_is_read_as_python_would(arguments: list[Any], value: Any):
    call = ", ".join(map(repr, arguments))
    turned = call_tests(f"assert f({call}) == {value!r}")
    assert turned == CallTests(fn_name="f", inputs=(arguments,), outputs=(value,))
