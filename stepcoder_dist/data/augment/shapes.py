"""Shapes of single values, and the interface of every shape (`learning.py` finds the shape).

A shape makes new values (`fresh`), makes a small change of one (`varied`), and says whether a value
is of this shape (`fits`). What the first two make need not fit, so it is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Protocol, TypeVar

Number = TypeVar("Number", int, float)


class Reach(StrEnum):
    """How far from what was seen an input may be."""

    SEEN = "seen"
    """Numbers and lengths between the least and the greatest that were seen."""
    SMALLER = "smaller"
    """Also down to 1: constraints do not often forbid small values, but some do."""
    WIDER = "wider"
    """Also 0, −1, the empty, and beyond the greatest."""


class Shape(Protocol):
    def fits(self, value: Any) -> bool: ...

    def fresh(self, rng: Random) -> Any: ...

    def varied(self, value: Any, rng: Random) -> Any:
        """Return a small change of a value that fits."""
        ...


def span(low: Number, high: Number, reach: Reach) -> tuple[Number, Number]:
    """Return the least and greatest number that may be made, from those seen."""
    kind = type(low)
    if reach is Reach.SEEN:
        return low, high
    if reach is Reach.SMALLER:
        return min(low, kind(1)) if low > 0 else low, high
    return min(low, kind(-1)), high + max(kind(1), high - low)


def lengths(shortest: int, longest: int, reach: Reach) -> tuple[int, int]:
    """Return the least and greatest length that may be made, from those seen."""
    if reach is Reach.SEEN:
        return shortest, longest
    if reach is Reach.SMALLER:
        return min(shortest, 1), longest
    return 0, longest + 1


@dataclass(frozen=True, slots=True)
class Integers:
    low: int
    high: int
    seen: tuple[int, ...]

    def fits(self, value: Any) -> bool:
        return type(value) is int and self.low <= value <= self.high

    def fresh(self, rng: Random) -> int:
        near = (self.low, self.low + 1, self.high - 1, self.high, -1, 0, 1)
        within = [number for number in near if self.low <= number <= self.high]
        small = min(self.high, self.low + 9)
        ways = (
            lambda: rng.choice(within),
            lambda: rng.choice(self.seen),
            lambda: rng.randint(self.low, small),
            lambda: rng.randint(self.low, self.high),
        )
        return rng.choice(ways)()

    def varied(self, value: Any, rng: Random) -> int:
        changed = (value + 1, value - 1, -value, value // 2, value * 2)
        within = [number for number in changed if number != value and self.fits(number)]
        return rng.choice(within) if within and rng.random() < 0.5 else self.fresh(rng)  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Floats:
    low: float
    high: float
    decimals: int
    """Most decimals seen: inputs with three decimals have expected values with three."""
    seen: tuple[float, ...]

    def fits(self, value: Any) -> bool:
        return type(value) is float and self.low <= value <= self.high

    def fresh(self, rng: Random) -> float:
        ways = (
            lambda: rng.choice((self.low, self.high)),
            lambda: rng.choice(self.seen),
            lambda: float(round(rng.uniform(self.low, self.high))),
            lambda: round(rng.uniform(self.low, self.high), self.decimals),
        )
        return rng.choice(ways)()

    def varied(self, value: Any, rng: Random) -> float:
        step = 10.0**-self.decimals
        changed = (value + step, value - step, -value, value / 2)
        within = [n for n in (round(c, self.decimals) for c in changed) if self.fits(n)]
        return rng.choice(within) if within and rng.random() < 0.5 else self.fresh(rng)  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the values that were seen; for booleans both. Nothing is known to vary here."""

    seen: tuple[Any, ...]

    def fits(self, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.seen)

    def fresh(self, rng: Random) -> Any:
        return rng.choice(self.seen)

    def varied(self, value: Any, rng: Random) -> Any:
        others = [one for one in self.seen if one != value]
        return rng.choice(others or [value])


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several shapes: values of several kinds were seen at one place."""

    shapes: tuple[Shape, ...]

    def fits(self, value: Any) -> bool:
        return any(shape.fits(value) for shape in self.shapes)

    def fresh(self, rng: Random) -> Any:
        return rng.choice(self.shapes).fresh(rng)

    def varied(self, value: Any, rng: Random) -> Any:
        own = [shape for shape in self.shapes if shape.fits(value)]
        return rng.choice(own).varied(value, rng) if own else self.fresh(rng)
