"""From a row to the readings of it that can be run, or the reason why there is none.

A row can have many solutions, and a solution can decide how the expected values are to be read
(`problems/tests.py`). Each pair that makes sense is a *reading*, a `Problem` of its own.
"""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.data.refine.normalisation import changes
from stepcoder_dist.data.refine.stages import Candidate, Reason, Rejection
from stepcoder_dist.errors import ProblemError, RowError
from stepcoder_dist.problems import problem_of, reference_code, rewrapped
from stepcoder_dist.problems.assert_script import parse
from stepcoder_dist.problems.files import FIX
from stepcoder_dist.problems.formats import Draft, draft
from stepcoder_dist.problems.tests import listed
from stepcoder_dist.records import Problem

Fits = Callable[[Problem], str | None]
"""Says why a problem does not fit the model's context; None where it fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One solution of a row, with the tests as it means them."""

    problem: Problem
    normalised: tuple[str, ...]


def read(row: Any, where: str) -> Candidate | Rejection:
    """Read a row without running anything."""
    try:
        found = draft(row, where)
    except RowError as error:
        return _without_keys(row, str(error))
    missing = _missing(found)
    if missing is not None:
        return missing
    first = next(readings(found), None)
    if isinstance(first, Rejection):
        return first
    assert first is not None  # noqa: S101 - `_missing` has seen a solution
    return Candidate(problem=first.problem, draft=found, where=where, normalised=first.normalised)


def readings(found: Draft, fits: Fits = lambda _: None) -> Iterator[Reading | Rejection]:
    """Yield every reading that can be run, in the order of the solutions, without copies.

    Where there is none, yield one rejection: that of the solution that came furthest.
    """
    furthest: Rejection | None = None
    seen: set[str] = set()
    ordinal = list(Reason).index
    none_left = True
    for solution in found.solutions:
        if not solution.strip():
            continue
        text = solution.replace("\r\n", "\n")
        made = _one(found, text, seen, fits)
        if isinstance(made, Rejection):
            if furthest is None or ordinal(made.reason) > ordinal(furthest.reason):
                furthest = made
            continue
        none_left = none_left and not made
        yield from made
    if none_left and furthest is not None:
        yield furthest


def distinct(source: str) -> str:
    """Return a key that sources share if only white space and comments differ.

    Raises `SyntaxError`.
    """
    parts: list[str] = []
    waiting: list[Any] = [parse(source)]
    while waiting:  # `ast.dump` calls itself: a few hundred `elif`s are too many for it
        item = waiting.pop()
        if isinstance(item, ast.AST):
            parts.append(type(item).__name__)
            waiting += (getattr(item, name, None) for name in item._fields)
        elif isinstance(item, list):
            parts.append(f"{len(item)} items")
            waiting += item
        else:
            parts.append(repr(item))
    return "\n".join(parts)


def without_place(error: ProblemError) -> str:
    return str(error).removesuffix(f"; {FIX}")


def _one(found: Draft, solution: str, seen: set[str], fits: Fits) -> list[Reading] | Rejection:
    """Return the readings of one solution.

    Two where only running it shows how values are wrapped.
    """
    complaint = reference_code.complaint(solution)
    if complaint is not None:
        outside = complaint.endswith("'return' outside function")
        reason = Reason.RETURN_OUTSIDE if outside else Reason.DOES_NOT_PARSE
        return Rejection(reason=reason, detail=complaint)
    same = distinct(solution)
    if same in seen:
        return []
    seen.add(same)
    try:
        problem, settled = problem_of(found, solution)
    except RowError as error:
        return Rejection(reason=Reason.BAD_TESTS, detail=str(error))
    tests = problem.tests
    name = tests.fn_name or (tests.entry_point if tests.test_code else None)
    if name is not None and not _binds(tests.setup_code, problem.reference, name):
        return Rejection(reason=Reason.FUNCTION_NAME, detail=f"the solution defines no {name}")
    too_long = fits(problem)
    if too_long is not None:
        return Rejection(reason=Reason.TOO_LONG, detail=too_long)
    problems = [problem] if settled else [problem, rewrapped(problem)]
    return [Reading(problem=p, normalised=changes(found, solution, p)) for p in problems]


def _without_keys(row: Any, complaint: str) -> Rejection:
    """Return the rejection of a row that no format knows.

    One that describes a problem lacks tests.
    """
    keys = {"solution", "solutions", "canonical_solution", "reference", "question", "statement"}
    if isinstance(row, dict) and keys & row.keys() and "fit no known format" in complaint:
        return Rejection(reason=Reason.NO_INPUTS, detail="neither inputs nor outputs")
    return Rejection(reason=Reason.UNREADABLE, detail=complaint)


def _missing(found: Draft) -> Rejection | None:
    """Return the rejection for APPS+'s first step: no inputs, outputs, solution or name."""
    name = found.fn_name
    if name not in (None, "") and not _identifier(name):
        detail = f"fn_name {name!r} is no name of a function"
        return Rejection(reason=Reason.FUNCTION_NAME, detail=detail)
    if not found.test_code.strip():
        given = found.inputs, found.outputs
        inputs, outputs = map(listed, given) if found.apps else given
        missing = _missing_tests(found, inputs or [], outputs or [])
        if missing is not None:
            return missing
    if not any(solution.strip() for solution in found.solutions):
        return Rejection(reason=Reason.NO_SOLUTION, detail="no solution")
    return None


def _missing_tests(found: Draft, inputs: Any, outputs: Any) -> Rejection | None:
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        return None  # `problem_tests` refuses it
    called = bool(found.fn_name)
    counts = f"{len(inputs)} inputs, {len(outputs)} outputs"
    if len(inputs) < len(outputs) or not inputs:
        return Rejection(reason=Reason.NO_INPUTS, detail=counts)
    if len(outputs) < len(inputs):
        return Rejection(reason=Reason.NO_OUTPUTS, detail=counts)
    if not called and not any(map(_says_something, outputs)):
        detail = "every expected output is blank: a program that does nothing would pass"
        return Rejection(reason=Reason.NO_OUTPUTS, detail=detail)
    starts_function = "def " in found.starter_code
    if not called and any(_argument_list(value, starts_function) for value in inputs):
        detail = "inputs are lists of arguments, and there is no fn_name"
        return Rejection(reason=Reason.FUNCTION_NAME, detail=detail)
    return None


def _says_something(output: Any) -> bool:
    return bool(output.strip()) if isinstance(output, str) else output not in (None, [], [""])


def _argument_list(value: Any, starts_function: bool) -> bool:
    """Return whether a list is one of arguments; texts are lines, unless a function is called."""
    lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return isinstance(value, list) and (starts_function or not lines)


def _identifier(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)


def _binds(setup_code: str, source: str, name: str) -> bool:
    """Return whether the name is bound anywhere: a function, a method, an assignment, an import."""
    for node in (*_nodes(setup_code), *_nodes(source)):
        match node:
            case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound):
                pass
            case ast.ClassDef(name=bound) | ast.Name(id=bound, ctx=ast.Store()):
                pass
            case ast.alias(name=imported, asname=alias):
                bound = (alias or imported).partition(".")[0]
                if bound == "*":
                    return True
            case _:
                continue
        if bound == name:
            return True
    return False


def _nodes(source: str) -> Iterator[ast.AST]:
    try:
        yield from ast.walk(parse(source))
    except SyntaxError:
        return
