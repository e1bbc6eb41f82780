"""The records that pass between the stages of refining, and the interface of a stage.

A stage after "reference passes" is any object with `name`, `apply` and `tally`. The composition
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
    RETURN_OUTSIDE = "solution returns outside of a function"
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
    """The problem as it would be written; with the solution that passed, once one did."""
    draft: Draft
    """The row's fields as they came, with all its solutions."""
    where: str
    """The row's place: `problems.jsonl:17`."""
    normalised: tuple[str, ...] = ()
    """What the loader changed about the row's format."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the written row, from stages: JSON, with names that the format lacks."""


class Stage(Protocol):
    """One check or change of a row. Several rows are in a stage at the same time."""

    @property
    def name(self) -> str:
        """The stage's key in the report."""
        ...

    async def apply(self, found: Candidate) -> Candidate | Rejection:
        """Return the candidate, perhaps changed, or why it is left out. Raises `SandboxFault`."""
        ...

    def tally(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what the report says of the stage, as JSON, from the rows that are kept.

        Only the rows count: some may have passed before the command was stopped and resumed.
        """
        ...
