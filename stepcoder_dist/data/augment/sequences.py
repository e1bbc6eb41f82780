"""Shapes of values with items: sequences of any length, and records of fields.

Lists, sets and dictionaries are sequences (a dictionary is one of pairs with distinct keys). Three
values are records: a tuple whose length never changes, the list of a function's arguments, and a
short list of one length that was seen often, such as a point or an interval.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from stepcoder_dist.data.augment import invariants
from stepcoder_dist.data.augment.invariants import Relation, SequenceProperty
from stepcoder_dist.data.augment.shapes import Shape
from stepcoder_dist.data.augment.texts import change

_MOST_NEW_ITEMS = 12
"""Most items of a new sequence: small inputs reach corner cases as well as large ones."""


def items_of(value: Any) -> list[Any]:
    """Return the items in an order that does not depend on hashes."""
    if isinstance(value, dict):
        return list(value.items())
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else list(value)


KINDS: dict[type, Callable[[list[Any]], Any]] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset, dict: dict
}  # fmt: skip
"""The function that makes each kind of its items."""


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence of items of one shape, with the lengths and properties that were seen."""

    kind: type
    shortest: int
    longest: int
    item: Shape | None
    """The shape of an item; None where only empty sequences were seen."""
    properties: tuple[SequenceProperty, ...]

    def fits(self, value: Any) -> bool:
        if type(value) is not self.kind:
            return False
        items = items_of(value)
        if not self.shortest <= len(items) <= self.longest:
            return False
        if self.item is None or not items:
            return not items
        if not all(map(self.item.fits, items)):
            return False
        return all(holds(items) for holds in self.properties)

    def fresh(self, rng: Random) -> Any:
        longest = max(self.shortest, min(self.longest, rng.choice((3, _MOST_NEW_ITEMS))))
        return self.resized([], rng.randint(self.shortest, longest), rng)

    def varied(self, value: Any, rng: Random) -> Any:
        items, item = items_of(value), self.item
        if item is None:
            return value
        if items and rng.random() < 0.5:  # noqa: PLR2004 - one item in a small way
            at = rng.randrange(len(items))
            items[at] = item.varied(items[at], rng)
        else:
            items = change(items, rng, lambda: item.fresh(rng))
        return self._made(items, rng)

    def resized(self, value: Any, length: int, rng: Random) -> Any:
        """Return the items cut, or filled up with fresh ones, to a length."""
        items = items_of(value)[:length]
        if self.item is not None:
            items += [self.item.fresh(rng) for _ in range(length - len(items))]
        return self._made(items, rng)

    def _made(self, items: list[Any], rng: Random) -> Any:
        """Adjust the items towards the properties; `fits` decides whether that was enough."""
        wanted = self.properties
        if invariants.permutation in wanted:
            first = 0 if 0 in items else 1
            items = rng.sample(range(first, first + len(items)), len(items))
        if invariants.distinct in wanted:
            items = list({repr(item): item for item in items}.values())
        if invariants.rectangular in wanted and items and isinstance(self.item, Items):
            width = len(items) if invariants.square in wanted else len(items[0])
            items = [self.item.resized(item, width, rng) for item in items]
        if invariants.ascending in wanted or invariants.descending in wanted:
            with contextlib.suppress(TypeError):  # a text among numbers has no order
                items = sorted(items, reverse=invariants.ascending not in wanted)
        return KINDS[self.kind](items)


@dataclass(frozen=True, slots=True)
class Record:
    """A record: fields, each of its own shape, with the relations that held between them."""

    kind: type
    fields: tuple[Shape, ...]
    relations: tuple[Relation, ...]

    def fits(self, value: Any) -> bool:
        if type(value) is not self.kind:
            return False
        fields = items_of(value)
        if len(fields) != len(self.fields):
            return False
        if not all(shape.fits(field) for shape, field in zip(self.fields, fields, strict=True)):
            return False
        return all(r.holds(fields[r.left], fields[r.right]) for r in self.relations)

    def fresh(self, rng: Random) -> Any:
        return self._made([shape.fresh(rng) for shape in self.fields], rng)

    def varied(self, value: Any, rng: Random) -> Any:
        fields = list(value)
        if fields:
            at = rng.randrange(len(fields))
            fields[at] = self.fields[at].varied(fields[at], rng)
        return self._made(fields, rng)

    def crossed(self, value: Any, other: Any, rng: Random) -> Any:
        """Return a mixture of two records: each field is of the one or of the other."""
        return self._made([rng.choice(pair) for pair in zip(value, other, strict=True)], rng)

    def _made(self, fields: list[Any], rng: Random) -> Any:
        """Adjust the fields where a relation is one of lengths; `fits` decides on the others."""
        for relation in self.relations:
            left, right = relation.left, relation.right
            shape = self.fields[right]
            if relation.holds is invariants.as_long and isinstance(shape, Items):
                fields[right] = shape.resized(fields[right], len(fields[left]), rng)
        for relation in self.relations:
            if relation.holds is invariants.is_length:
                fields[relation.left] = len(fields[relation.right])
        return KINDS[self.kind](fields)
