"""Properties that every seen input has, and so every new input must have.

An input that breaks a promise of the statement can make a right program fail, and the statement is
not understood. So a property of this catalogue that all tests have is taken for a promise. Too few
tests make too many promises, which costs variety and never correctness.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_ENOUGH = 3
"""Items that must have been seen before their order or distinctness is taken for a property."""


# ── of a sequence ────────────────────────────────────────────────────────────────────────────


def ascending(items: Sequence[Any]) -> bool:
    return _in_order(items, lambda left, right: bool(left <= right))


def descending(items: Sequence[Any]) -> bool:
    return _in_order(items, lambda left, right: bool(left >= right))


def distinct(items: Sequence[Any]) -> bool:
    written = [repr(item) for item in items]
    return len(set(written)) == len(written)


def rectangular(items: Sequence[Any]) -> bool:
    """Return whether all items are sized, and of one size."""
    return bool(items) and all(_sized(i) for i in items) and len({len(i) for i in items}) == 1


def square(items: Sequence[Any]) -> bool:
    return rectangular(items) and len(items[0]) == len(items)


def permutation(items: Sequence[Any]) -> bool:
    """Return whether the items are a permutation of 0…n−1 or of 1…n."""
    if not all(type(item) is int for item in items):
        return False
    return sorted(items) in (list(range(len(items))), list(range(1, len(items) + 1)))


def _in_order(items: Sequence[Any], ordered: Callable[[Any, Any], bool]) -> bool:
    try:
        return all(ordered(left, right) for left, right in itertools.pairwise(items))
    except TypeError:
        return False


SEQUENCE = (ascending, descending, distinct, rectangular, square, permutation)
SequenceProperty = Callable[[Sequence[Any]], bool]


def properties(seen: Sequence[Sequence[Any]]) -> tuple[SequenceProperty, ...]:
    """Return the properties of all sequences, where there are enough of them."""
    filled = [items for items in seen if items]
    if sum(map(len, filled)) < _ENOUGH:
        return ()
    return tuple(p for p in SEQUENCE if filled and all(map(p, filled)))


# ── between two fields of a record ───────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of two fields: `holds(record[left], record[right])`."""

    left: int
    right: int
    holds: Callable[[Any, Any], bool]


def is_length(number: Any, items: Any) -> bool:
    return type(number) is int and _sized(items) and number == len(items)


def as_long(items: Any, others: Any) -> bool:
    return _sized(items) and _sized(others) and len(items) == len(others)


def no_longer(items: Any, others: Any) -> bool:
    return _sized(items) and _sized(others) and len(items) <= len(others)


def is_index(number: Any, items: Any) -> bool:
    return type(number) is int and _sized(items) and 0 <= number < len(items)


def at_most_length(number: Any, items: Any) -> bool:
    return type(number) is int and _sized(items) and number <= len(items)


def is_member(value: Any, items: Any) -> bool:
    return isinstance(items, list | tuple) and value in items


def less(number: Any, other: Any) -> bool:
    return _number(number) and _number(other) and bool(number < other)


def at_most(number: Any, other: Any) -> bool:
    return _number(number) and _number(other) and bool(number <= other)


def bounds(number: Any, items: Any) -> bool:
    """Return whether no number in the items, however deep, is greater."""
    if not _number(number) or not isinstance(items, list | tuple) or not items:
        return False
    numbers = list(_numbers(items))
    return bool(numbers) and max(numbers) <= number


def differ(value: Any, other: Any) -> bool:
    return type(value) is type(other) and not _sized(value) and value != other


RECORD = (
    *(is_length, as_long, no_longer, is_index, at_most_length),
    *(is_member, less, at_most, bounds, differ),
)


def relations(seen: Sequence[Sequence[Any]]) -> tuple[Relation, ...]:
    """Return the relations that hold in every record.

    All records have the same number of fields.
    """
    pairs = itertools.permutations(range(len(seen[0])), 2)
    return tuple(
        Relation(left, right, holds)
        for left, right in pairs
        for holds in RECORD
        if all(holds(record[left], record[right]) for record in seen)
    )


def _sized(value: Any) -> bool:
    return isinstance(value, list | tuple | str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(items: Sequence[Any]) -> Iterator[float]:
    for item in items:
        if isinstance(item, list | tuple):
            yield from _numbers(item)
        elif _number(item):
            yield item
