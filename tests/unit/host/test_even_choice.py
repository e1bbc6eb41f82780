"""A few of many, spread over all of them."""

from __future__ import annotations

from stepcoder_dist.host.even_choice import evenly, spread


def test_the_first_few_are_the_ends_and_then_the_middles():
    assert spread(list(range(9))) == [0, 8, 4, 2, 6, 1, 3, 5, 7]
    assert spread([]) == []
    assert spread(["only"]) == ["only"]
    assert spread([1, 2]) == [1, 2]


def test_nothing_is_lost_or_doubled():
    for count in range(40):
        assert sorted(spread(list(range(count)))) == list(range(count))
        assert sorted(evenly(range(count), lambda i: i % 3)) == list(range(count))


def test_rare_kinds_come_as_early_as_frequent_ones():
    many = ["a"] * 50 + ["b", None] + ["a"] * 50 + ["c"] * 2
    assert set(evenly(many, lambda kind: kind)[:4]) == {"a", "b", "c", None}
