"""Writing a problem as a row of our own format, which reads back as the same problem."""

from __future__ import annotations

import json
from typing import Any

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems import python_values
from stepcoder_dist.problems.formats import OWN_FORMAT, PYTHON_TEXT
from stepcoder_dist.records import Problem


def row_from_problem(problem: Problem) -> dict[str, Any]:
    """Write a problem as one APPS+ object that `problem_from_row` reads back as the same problem.

    Where its tests hold what JSON cannot (tuples, sets, bytes, nan) each input and output is
    Python text, and `values` says so. Raises `ProblemError` where they are no plain data.
    """
    tests = problem.tests
    row: dict[str, Any] = {
        "format": OWN_FORMAT,
        "problem_id": problem.problem_id,
        "prompt": problem.statement,
        "difficulty": problem.level,
        "starter_code": problem.starter_code,
        "canonical_solution": problem.reference,
        "fn_name": tests.fn_name,
        "inputs": list(tests.inputs),
        "outputs": list(tests.outputs),
        "comparison": tests.comparison,
        # only where it says something: rows without it, and their digests, do not change
        **({"strict_types": True} if tests.strict_types else {}),
        "checker": tests.checker,
        "setup_code": tests.setup_code,
        "test_code": tests.test_code,
        "entry_point": tests.entry_point,
        "time_limit_s": tests.cpu_limit_s,
        "memory_limit_mb": tests.memory_limit_bytes and tests.memory_limit_bytes / 2**20,
    }
    required = {"fn_name", "inputs", "outputs", "prompt"}
    row = {key: value for key, value in row.items() if key in required or value}
    if row.get("comparison") == "tokens":
        del row["comparison"]
    if not _json_holds(row):
        try:
            row["inputs"] = [python_values.write(value) for value in tests.inputs]
            row["outputs"] = [python_values.write(value) for value in tests.outputs]
        except ValueError as error:
            raise ProblemError(
                f'problem "{problem.problem_id}": its tests cannot be written ({error}); '
                "keep its row"
            ) from None
        row["values"] = PYTHON_TEXT
    return row


def _json_holds(row: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(json.dumps(row, allow_nan=False)) == row)
    except (TypeError, ValueError, RecursionError):
        return False
