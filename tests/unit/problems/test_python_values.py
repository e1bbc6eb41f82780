"""Plain data as Python text: what is written is read back, the same in every process."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings, strategies as st

from stepcoder_dist.problems import python_values

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
HASHABLE = st.recursive(
    ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.sets(HASHABLE, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(VALUES)
def test_a_value_reads_back_with_its_types(value):
    read = python_values.read(python_values.write(value))
    assert read == value
    assert python_values.write(read) == python_values.write(value)


def test_values_that_are_no_literals_are_written_by_the_calls_that_make_them():
    written = [float("nan"), -float("inf"), set(), frozenset({2, 1}), 1j, (3,), -(10**30)]
    assert [python_values.write(value) for value in written] == [
        "float('nan')",
        "float('-inf')",
        "set([])",
        "frozenset([1, 2])",
        "complex(0.0, 1.0)",
        "(3,)",
        "-1000000000000000000000000000000",
    ]


def test_a_set_is_written_alike_whatever_the_hash_seed():
    script = (
        "from stepcoder_dist.problems import python_values as p; "
        "print(p.write({'a', 'b', 'c', 'd', ('e', 1)}))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (0, 1, 2)
    }
    assert told == {"{'a', 'b', 'c', 'd', ('e', 1)}\n"}


@pytest.mark.parametrize(
    "text", ["open('x')", "x", "1; 2", "", "[", "__import__('os')", "lambda: 1", "9 ** 9 ** 9"]
)
def test_anything_but_plain_data_is_refused(text):
    with pytest.raises(ValueError, match="no plain data"):
        python_values.read(text)


@pytest.mark.parametrize("value", [object(), bytearray(b"x"), [range(3)], 10**300_000], ids="0123")
def test_what_cannot_be_read_back_is_not_written(value):
    with pytest.raises(ValueError, match=r"no plain data|digits"):
        python_values.write(value)
