"""What the loader changed about a row's format, for the report: found by comparing the two."""

from __future__ import annotations

import json
from typing import Any

from stepcoder_dist.problems.formats import Draft
from stepcoder_dist.problems.tests import one_element_lists
from stepcoder_dist.records import Problem

LINES_JOINED = "lists of lines joined to text"
NUMBERS_AS_TEXT = "numbers as output written as text"
JSON_DECODED = "JSON text decoded"
LISTS_DECODED = "lists decoded from JSON text"
UNWRAPPED = "single values taken out of lists"
WRAPPER_CALLED = "call of the wrapper function added"
NAME_DROPPED = "function name of a program on standard input dropped"
METHODS_MOVED = "bare methods put into class Solution"
ASSERTS_TURNED = "asserts turned into call tests"
IMPORTS_ADDED = "LeetCode's silent imports added"
LINE_ENDS = "line ends of Windows"


def changes(found: Draft, solution: str, problem: Problem) -> tuple[str, ...]:
    """Return the names of the changes from the row to the problem with this solution."""
    tests = problem.tests
    called = tests.fn_name is not None
    moved = problem.reference != solution
    made = {
        LINE_ENDS: any("\r\n" in text for text in (found.statement, *found.solutions)),
        ASSERTS_TURNED: bool(found.test_code.strip()) and not tests.test_code,
        IMPORTS_ADDED: bool(tests.setup_code) and not found.setup_code,
        WRAPPER_CALLED: moved and not called,
        METHODS_MOVED: moved and called,
        NAME_DROPPED: bool(found.fn_name) and not called and not tests.test_code,
    }
    if not found.test_code.strip():
        made |= _values(found, problem)
    return tuple(name for name, so in made.items() if so)


def _values(found: Draft, problem: Problem) -> dict[str, bool]:
    tests = problem.tests
    as_text = isinstance(found.inputs, str) or isinstance(found.outputs, str)
    inputs, outputs = _listed(found.inputs), _listed(found.outputs)
    made = {LISTS_DECODED: as_text}
    if tests.fn_name is None:
        values = inputs + outputs
        if found.apps and any("\r\n" in line for i in inputs for line in _listed_lines(i)):
            made[LINE_ENDS] = True
        return made | {
            LINES_JOINED: any(isinstance(value, list) for value in values),
            NUMBERS_AS_TEXT: any(isinstance(value, int | float) for value in values),
        }
    unwrapped = one_element_lists(outputs) and not one_element_lists(tests.outputs)
    kept = [o[0] for o in outputs] if unwrapped else outputs
    return made | {
        JSON_DECODED: list(tests.inputs) != inputs or list(tests.outputs) != kept,
        UNWRAPPED: unwrapped,
    }


def _listed_lines(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = json.loads(value)
    return list(value)
