"""Orders that choose a few items of many and show every kind; repeatable, not random."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Generic, TypeVar

T = TypeVar("T")


def spread(items: Sequence[T]) -> list[T]:
    """Return all items, reordered so that any first few of them are spread over the sequence.

    First, last, middle, then the middles of the halves, and so on.
    """
    order = list(range(len(items)))[:1] + list(range(len(items)))[1:][-1:]
    gaps = [(0, len(items) - 1)]
    for low, high in gaps:  # the list grows during the iteration: breadth first
        middle = (low + high) // 2
        if low < middle < high:
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return [items[index] for index in order]


def evenly(items: Iterable[T], kind: Callable[[T], Hashable]) -> list[T]:
    """Return all items, reordered so that any first few of them hold each kind equally often.

    Kinds take turns, in the order of `spread` over their first appearance; so do the members of
    each kind.
    """
    kinds: dict[Hashable, list[T]] = {}
    for item in items:
        kinds.setdefault(kind(item), []).append(item)
    turns = [spread(members) for members in spread(list(kinds.values()))]
    rounds = zip_longest(*(map(_One, turn) for turn in turns))
    return [one.item for members in rounds for one in members if one is not None]


@dataclass(frozen=True, slots=True)
class _One(Generic[T]):
    """Distinguishes an item that is `None` from the padding of `zip_longest`."""

    item: T
