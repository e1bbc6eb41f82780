"""Plain data keeps its types on the way; everything else equals nothing."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from sandbox.guest import plain_data

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
hashable = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=6,
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(hashable, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_comes_back_with_its_types(value):
    back = plain_data.decode(plain_data.encode(value))
    assert back == value
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)


def test_nan_infinities_and_large_integers_come_back():
    nan, low, large = plain_data.decode(plain_data.encode([math.nan, -math.inf, -(7**9999)]))
    assert math.isnan(nan)
    assert low == -math.inf
    assert large == -(7**9999)


def test_subclasses_become_the_plain_types_that_they_are():
    Point = namedtuple("Point", "x y")  # noqa: PYI024
    color = IntEnum("Color", "RED")
    values_ = [Point(1, 2), Counter("aab"), OrderedDict(a=1), color.RED, type("S", (str,), {})("x")]
    assert plain_data.decode(plain_data.encode(values_)) == [
        (1, 2),
        {"a": 2, "b": 1},
        {"a": 1},
        1,
        "x",
    ]


def test_numbers_of_numpy_are_pythons_and_its_arrays_are_not_lists():
    numbers = [
        np.int64(3),
        np.uint8(255),
        np.bool_(1),
        np.float32(0.5),
        np.float64(2),
    ]
    back = plain_data.decode(plain_data.encode([*numbers, {np.int32(7): np.True_}]))
    assert back == [3, 255, True, 0.5, 2.0, {7: True}]
    assert [type(item) for item in back[:5]] == [int, int, bool, float, float]
    (array,) = plain_data.decode(plain_data.encode([np.array([1, 2])]))
    assert array != [1, 2]
    assert repr(array) == "<ndarray object>"


def test_other_objects_equal_nothing_not_even_themselves():
    back = plain_data.decode(plain_data.encode(object()))
    assert back != back  # noqa: PLR0124
    assert repr(back) == "<object object>"


def test_cyclic_and_deep_data_is_refused():
    cyclic: list = []
    cyclic.append(cyclic)
    with pytest.raises(plain_data.Unreadable):
        plain_data.encode(cyclic)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"{}",
        b"[]",
        b'["x", 1]',
        b'["i", 5]',
        b'["i"]',
        b'["s", ["l"]]',
        b'["d", 1]',
        b'["b", "zz"]',
        b'["n", "x"]',
        b"[" * 100_000,
        b"1" * 10_000,
        b"\xff\xff",
    ],
)
def test_hostile_bytes_are_unreadable_and_nothing_worse(data):
    with pytest.raises(plain_data.Unreadable):
        plain_data.decode(data)


def test_too_many_items_are_refused_before_they_are_read():
    with pytest.raises(plain_data.TooLarge):
        plain_data.decode(b'["l"' + b",[]" * (2 * plain_data.MAX_ITEMS) + b"]")


def of_one_hash(count: int) -> bytes:
    return b",".join(b'["i","%x"]' % ((2**61 - 1) * n) for n in range(2**9, 2**9 + count))


def test_keys_of_one_hash_are_refused_before_they_hold_up_the_interpreter():
    many = of_one_hash(20_000)
    some = of_one_hash(1_000)
    for data in (
        b'["s",' + many + b"]",
        b'["f",' + many + b"]",
        b'["d",' + many.replace(b"],", b"],0,") + b",0]",
        b'["l",' + b",".join([b'["s",' + some + b"]"] * 30) + b"]",
    ):
        with pytest.raises(plain_data.TooLarge):
            plain_data.decode(data)


def test_sets_of_numbers_that_share_some_hashes_by_nature_come_through():
    powers = {2**n for n in range(3000)}  # 61 hashes
    assert plain_data.decode(plain_data.encode(powers)) == powers
    numbers = set(range(-100_000, 100_000))
    assert plain_data.decode(plain_data.encode(numbers)) == numbers


@given(st.fractions() | st.decimals(allow_nan=False, allow_infinity=False))
def test_exact_numbers_arrive_by_their_value(value):
    arrived = plain_data.decode(plain_data.encode([value]))[0]
    assert isinstance(arrived, int | Fraction | plain_data.Opaque)
    assert isinstance(arrived, plain_data.Opaque) or arrived == Fraction(value)


@pytest.mark.parametrize(
    "value", [Decimal("nan"), Decimal("sNaN"), Decimal("inf"), Decimal("1E+5000")]
)
def test_what_has_no_exact_value_of_sane_size_stays_behind(value):
    assert isinstance(plain_data.decode(plain_data.encode(value)), plain_data.Opaque)


@pytest.mark.parametrize("text", ["1/0", "1", "x/1", "1/2/3", "f" * 5000 + "/1"])
def test_a_forged_ratio_is_refused(text):
    with pytest.raises(plain_data.Unreadable):
        plain_data.decode(f'["q","{text}"]'.encode())
