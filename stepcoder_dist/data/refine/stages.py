"""What passes between the stages of refining, and what a stage is.

A stage after "the reference passes" is any object with `name`, `apply` and `tally`; the composition
root (`launch/refine.py`) puts it into the list that `refine.refine` is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from stepcoder_dist.problems.formats import Draft
from stepcoder_dist.records import Problem


class Reason(StrEnum):
    """Why a row is left out, in the order of the stages."""

    UNREADABLE = "cannot be read"
    NO_INPUTS = "no test inputs"
    NO_OUTPUTS = "no expected outputs"
    NO_SOLUTION = "no solution"
    DOES_NOT_PARSE = "solution does not parse"
    FUNCTION_NAME = "function name wrong or missing"
    BAD_TESTS = "tests cannot be used"
    TOO_LONG = "too long for the model"
    IN_EVALUATION_SET = "in an evaluation set"
    FAILS = "reference fails its tests"
    TIMES_OUT = "reference times out"
    NOT_DETERMINISTIC = "reference not deterministic"
    NOT_JUDGED = "the sandbox failed on it"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near-duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A row that is left out."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A row on its way through the stages."""

    problem: Problem
    """As it would be written: after "the reference passes" with the first solution that does."""
    draft: Draft
    """The row's fields as they came, with all its solutions."""
    where: str
    """`problems.jsonl:17`"""
    normalised: tuple[str, ...] = ()
    """What the loader changed about its format."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the written row, by stages: JSON, and no name of the row format."""


class Stage(Protocol):
    """One step for one row. Several rows are in a stage at the same time."""

    @property
    def name(self) -> str:
        """Its key in the report."""
        ...

    async def apply(self, found: Candidate) -> Candidate | Rejection:
        """The candidate, perhaps changed, or why it is left out. Raises `SandboxFault`."""
        ...

    def tally(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """What the report says of the stage, as JSON, told from the rows that are kept.

        From the rows alone: some may have passed before the command was stopped and resumed.
        """
        ...
