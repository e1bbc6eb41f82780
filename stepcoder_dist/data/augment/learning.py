"""Finding the shape of the values that were seen at one place of the inputs.

learn([3, 8])               Integers 3…8
learn(["ab", "b"])          Texts of 1…2 letters
learn([[1, 5], [2]])        Items: 1…2 integers
learn([(1, "a"), (2, "b")]) Record: an integer and a text
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stepcoder_dist.data.augment import invariants, texts
from stepcoder_dist.data.augment.sequences import KINDS, Items, Record, items_of
from stepcoder_dist.data.augment.shapes import (
    AnyOf,
    Floats,
    Integers,
    OneOf,
    Reach,
    Shape,
    lengths,
    span,
)

_OFTEN = 3
_FEW_FIELDS = 4


def learn(seen: Sequence[Any], reach: Reach) -> Shape:
    """Return the shape of all these values. Raises `ValueError` for none."""
    kinds: dict[type, list[Any]] = {}
    for value in seen:
        kinds.setdefault(type(value), []).append(value)
    if not kinds:
        raise ValueError("no values to learn a shape of")
    shapes = tuple(_of_one_kind(kind, values, reach) for kind, values in kinds.items())
    return shapes[0] if len(shapes) == 1 else AnyOf(shapes)


def _of_one_kind(kind: type, seen: list[Any], reach: Reach) -> Shape:
    if kind is bool:
        return OneOf((False, True))
    if kind is int:
        return Integers(*span(min(seen), max(seen), reach), tuple(seen))
    if kind is float and all(map(math.isfinite, seen)):
        return _floats(seen, reach)
    if kind is str:
        return texts.learn(seen, reach)
    if kind in KINDS:
        return _sequence(kind, seen, reach)
    return OneOf(tuple(seen))


def _floats(seen: list[float], reach: Reach) -> Floats:
    low, high = span(min(seen), max(seen), reach)
    return Floats(low, high, max(map(_decimals, seen)), tuple(seen))


def _decimals(value: float) -> int:
    text = repr(value)
    return len(text.partition(".")[2]) if "e" not in text else 6


def _sequence(kind: type, seen: list[Any], reach: Reach) -> Shape:
    """Return the shape of these values, all of this kind."""
    sizes = {len(value) for value in seen}
    if len(sizes) == 1 and sizes != {0}:
        often = kind is list and len(seen) >= _OFTEN and max(sizes) <= _FEW_FIELDS
        if kind is tuple or (often and _as_fields(seen)):
            return record(kind, seen, reach)
    items = [items_of(value) for value in seen]
    every = [item for value in items for item in value]
    shortest, longest = lengths(min(sizes), max(sizes), reach)
    held = invariants.properties(items) if kind in (list, tuple) else ()
    if kind is dict:
        held = (invariants.distinct,)
    return Items(kind, shortest, longest, learn(every, reach) if every else None, held)


def record(kind: type, seen: Sequence[Any], reach: Reach) -> Record:
    """Return the shape of these records, which all have the same number of fields."""
    fields = tuple(learn(column, reach) for column in zip(*seen, strict=True))
    return Record(kind, fields, invariants.relations(seen))


def _as_fields(seen: list[Any]) -> bool:
    """Return whether the fields are plain.

    A short list of lists is a small matrix, not a record.
    """
    return not any(isinstance(field, list | dict) for value in seen for field in value)
