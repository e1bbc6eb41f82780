"""Inputs made for new tests: types, shapes, ranges and counts stay as they were seen."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from stepcoder_dist.data.augment.candidates import candidates
from stepcoder_dist.data.augment.format_search import infer
from stepcoder_dist.data.augment.input_format import Format
from stepcoder_dist.data.augment.learning import learn
from stepcoder_dist.data.augment.shapes import Reach
from stepcoder_dist.errors import Unlike
from stepcoder_dist.records import TestSuite

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 2)),
    st.text("abc ", max_size=6),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3),
        st.sets(st.integers(0, 9), max_size=4),
    ),
    max_leaves=8,
)


def types_of(value):
    found = {type(value)}
    items = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple | set):
        found = found.union(*(types_of(item) for item in items))
    return found


def calls(*inputs):
    return TestSuite(fn_name="f", inputs=tuple(inputs), outputs=(0,) * len(inputs))


def stdin(*inputs):
    return TestSuite(inputs=tuple(inputs), outputs=("",) * len(inputs))


def made(tests, reach=Reach.SEEN, most=64):
    return candidates(tests, most, 0, reach)


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(list(Reach)))
def test_what_was_seen_is_of_its_own_shape(seen, reach):
    shape = learn(seen, reach)
    assert all(shape.fits(value) for value in seen)


@settings(max_examples=25)
@given(st.lists(VALUES, min_size=1, max_size=4), st.integers(0, 99))
def test_a_candidate_has_as_many_arguments_and_no_type_that_was_not_seen(seen, seed):
    inputs = [[value, 7] for value in seen]
    found = candidates(calls(*inputs), 16, seed, Reach.SEEN)
    assert all(len(arguments) == 2 for arguments in found)
    allowed = types_of([inputs])
    assert all(types_of(arguments) <= allowed | {bool} for arguments in found)
    assert not set(map(repr, found)) & set(map(repr, inputs))


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=6), min_size=2, max_size=4))
def test_numbers_and_lengths_stay_within_what_was_seen(seen):
    numbers = [n for one in seen for n in one]
    for (items,) in made(calls(*([one] for one in seen))):
        assert min(map(len, seen)) <= len(items) <= max(map(len, seen))
        assert min(numbers) <= min(items)
        assert max(items) <= max(numbers)


def test_the_same_seed_gives_the_same_inputs_and_another_gives_others():
    tests = calls([[1, 5, 9], "abcd"], [[2], "b"])
    assert candidates(tests, 20, 1, Reach.SEEN) == candidates(tests, 20, 1, Reach.SEEN)
    assert candidates(tests, 20, 1, Reach.SEEN) != candidates(tests, 20, 2, Reach.SEEN)


def test_what_held_between_arguments_of_every_test_holds_for_new_ones():
    lengths = made(calls([[4, 1, 9], 3], [[7], 1], [[2, 8], 2]))
    assert lengths
    assert all(len(items) == n for items, n in lengths)
    members = made(calls([[4, 1, 9], 1], [[7, 2], 7], [[2, 8, 3], 3]))
    assert members
    assert all(value in items for items, value in members)
    ordered = made(calls([1, 5], [2, 9], [4, 6]))
    assert ordered
    assert all(low < high for low, high in ordered)


@pytest.mark.parametrize(
    ("inputs", "holds"),
    [
        (([[1, 3, 8]], [[2, 2]]), lambda items: items == sorted(items)),
        (([[9, 3, 1]], [[7, 2]]), lambda items: items == sorted(items, reverse=True)),
        (([[5, 3, 8]], [[1, 9]]), lambda items: len(set(items)) == len(items)),
        (([[3, 1, 2]], [[2, 1]]), lambda items: sorted(items) == list(range(1, len(items) + 1))),
        (([[[1, 2], [4, 3]]], [[[7]]]), lambda rows: {len(r) for r in rows} == {len(rows)}),
    ],
    ids=["ascending", "descending", "distinct", "permutation", "square"],
)
def test_what_every_list_had_new_lists_have(inputs, holds):
    found = made(calls(*inputs))
    assert found
    assert all(holds(items) for (items,) in found)


def test_texts_keep_their_letters_words_brackets_and_skeletons():
    brackets = made(calls(["(()())"], ["()"], ["(())()()"]))
    assert brackets
    for (text,) in brackets:
        depth = [text[:n].count("(") - text[:n].count(")") for n in range(len(text) + 1)]
        assert min(depth) == 0
        assert depth[-1] == 0
    words = made(calls(["one two"], ["nine one six"]))
    assert words
    assert {word for (text,) in words for word in text.split()} <= {"one", "two", "nine", "six"}
    dates = made(calls(["2021-03-17"], ["1999-11-02"]))
    assert dates
    for (text,) in dates:
        year, month, day = text.split("-")
        assert 1999 <= int(year) <= 2021
        assert 3 <= int(month) <= 11
        assert len(month) == len(day) == 2


def test_farther_reaches_go_to_one_and_beyond():
    tests = calls([5], [9])
    assert {n for (n,) in made(tests)} <= set(range(5, 10))
    assert min(n for (n,) in made(tests, Reach.SMALLER)) == 1
    wider = {n for (n,) in made(tests, Reach.WIDER)}
    assert {-1, 0} <= wider
    assert max(wider) > 9


FORMATS = {
    "a count and so many numbers": (("3 10\n1 2 3\n", "1 4\n5\n"), [[10, [1, 2, 3]], [4, [5]]]),
    "a count and so many lines": (("2\n1 2\n3 4\n",), [[[(1, 2), (3, 4)]]]),
    "a grid": (("2 3\n#.#\n...\n",), [[["#.#", "..."]]]),
    "a matrix": (("2 3\n1 2 3\n4 5 6\n", "1 1\n9\n"), [[[[1, 2, 3], [4, 5, 6]]], [[[9]]]]),
    "a length and a word": (("5\nabcde\n", "3\nxyz\n"), [["abcde"], ["xyz"]]),
    "cases": (
        ("2\n3\n1 2 3\n1\n9\n", "1\n2\n5 6\n"),
        [[[([1, 2, 3],), ([9],)]], [[([5, 6],)]]],
    ),
    "cases of blocks": (("2\n2\n1 1\n2 2\n1\n4 4\n",), [[[([(1, 1), (2, 2)],), ([(4, 4)],)]]]),
    "numbers without a count": (("1 2 3\n", "4 5\n"), [[[1, 2, 3]], [[4, 5]]]),
    "decimals": (("0.50 2\n", "1.25 3\n"), [[0.5, 2], [1.25, 3]]),
}


@pytest.mark.parametrize(("texts", "arguments"), FORMATS.values(), ids=FORMATS)
def test_the_format_of_standard_input_is_told_from_its_inputs(texts, arguments):
    found = infer(texts)
    assert found is not None
    assert [found.read(text) for text in texts] == arguments
    assert tuple(found.write(one) for one in arguments) == texts


@pytest.mark.parametrize(
    "texts",
    [
        ("4\n1 2\n2 3\n3 4\n",),
        ("1 2\n\n3\n",),
        ("once upon a time\n", "there was\n"),
        ("1\n2\n3\n4\n5\n6\n",),
    ],
    ids=["a tree", "blank lines", "prose", "lines that nothing counts"],
)
def test_an_input_that_no_format_explains_gets_no_new_ones(texts):
    assert infer(texts) is None
    assert made(stdin(*texts)) == []


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(1, 99), st.lists(st.integers(-99, 99), min_size=2, max_size=6)),
        min_size=2,
        max_size=4,
    ),
    st.integers(0, 99),
)
def test_a_count_always_tells_how_many_follow(seen, seed):
    texts = [f"{len(items)} {k}\n{' '.join(map(str, items))}\n" for k, items in seen]
    for text in candidates(stdin(*texts), 16, seed, Reach.WIDER):
        head, body = text.splitlines()
        assert int(head.split()[0]) == len(body.split())


def test_every_count_of_nested_cases_is_kept():
    texts = ("2\n3\n1 2 3\n1\n9\n", "1\n2\n5 6\n")
    found = made(stdin(*texts), Reach.WIDER)
    assert len(found) > 20
    for text in found:
        lines = text.splitlines()
        assert int(lines[0]) * 2 == len(lines) - 1
        for size, items in zip(lines[1::2], lines[2::2], strict=True):
            assert int(size) == len(items.split())


def test_a_shape_never_changes_the_value_that_it_varies():
    shape, value = learn([[[1, 2], [3]], [[4]]], Reach.SEEN), [[1, 2], [3]]
    for seed in range(50):
        shape.varied(value, Random(seed))
    assert value == [[1, 2], [3]]


def test_a_format_refuses_arguments_that_disagree_about_a_count():
    found = infer(("2\n1 2\n3 4\n", "3\n1 2 3\n4 5 6\n"))
    assert isinstance(found, Format)
    assert found.write([[1], [2]]) == "1\n1\n2\n"
    with pytest.raises(Unlike):
        found.write([[1], [2, 3]])
