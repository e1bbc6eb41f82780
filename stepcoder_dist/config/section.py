"""The base class of a run file's sections, and their types of numbers and paths."""

from __future__ import annotations

from math import isqrt
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stepcoder_dist import paths
from stepcoder_dist.config.counts import EVERYTHING, Counts

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _path(written: str) -> str:
    if "\0" in written:  # TOML can write it, and no file system has it
        raise ValueError(f"{written!r} has a NUL character, which no path has; remove it")
    return paths.expanded(written)


WrittenPath = Annotated[str, AfterValidator(_path)]
"""A path, or a name in the place of one (`ladder:train`, a hub name)."""


class Section(BaseModel):
    counts: ClassVar[Counts] = EVERYTHING
    """What a key counts for that says nothing itself."""

    # strict: "64" is no number and 1 no boolean; a mistyped value is refused, not guessed at
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _arrays_are_tuples(cls, data: Any) -> Any:
        """TOML knows arrays only; a frozen tree holds tuples."""
        if not isinstance(data, dict):
            return data
        return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}


_MOST_TRIED = 10**6
"""Divisors tried for the advice; those of numbers up to its square are all found."""


def divides(section: BaseModel, part: str, whole: str) -> None:
    small, large = _value(section, part), _value(section, whole)
    if large % small:
        # up to the root, and not for ever: a typing error can have any number of digits
        lower = [d for d in range(1, min(isqrt(large), _MOST_TRIED) + 1) if large % d == 0]
        divisors = sorted({*lower, *(large // d for d in lower)})
        near = sorted(sorted(divisors, key=lambda d: abs(d - small))[:2])
        raise ValueError(
            f"{part} = {small} does not divide {whole} = {large}; use {' or '.join(map(str, near))}"
        )


def _value(section: BaseModel, dotted: str) -> int:
    node: Any = section
    for name in dotted.split("."):
        node = getattr(node, name)
    return int(node)
