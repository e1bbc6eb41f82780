"""CodeContests (Li et al. 2022, `deepmind/code_contests`): programs on standard input."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.formats.draft import (
    Draft,
    Format,
    a_type,
    columns,
    own_id,
    text,
)

_PYTHON3 = (3, "3", "PYTHON3")
"""The language of a solution, as a number or by its name."""
_DIFFICULTIES = (
    *("UNKNOWN_DIFFICULTY", "EASY", "MEDIUM", "HARD", "HARDER", "HARDEST", "EXTERNAL"),
    *"ABCDEFGHIJKLMNOPQRSTUV",
)
"""The names of the numbers in `difficulty`: for Codeforces a problem's letter."""


def _read(row: dict[str, Any], where: str) -> Draft:
    for key in ("input_file", "output_file"):
        if name := text(row, key):
            raise RowError(f"its programs use a file ({key} is {name!r}), not standard input")
    inputs: list[Any] = []
    outputs: list[Any] = []
    for key in ("public_tests", "private_tests", "generated_tests"):
        given, expected = columns(row.get(key), key, ("input", "output"))
        inputs, outputs = inputs + given, outputs + expected
    languages, programs = columns(row.get("solutions"), "solutions", ("language", "solution"))
    return Draft(
        problem_id=f"code_contests/{own_id(row, where, 'name')}",
        statement=text(row, "description"),
        solutions=[
            program
            for language, program in zip(languages, programs, strict=True)
            if language in _PYTHON3 and isinstance(program, str)
        ],
        level=_difficulty(row.get("difficulty")),
        inputs=inputs,
        outputs=outputs,
        time_limit_s=_seconds(row.get("time_limit")),
        memory_limit_mb=_mebibytes(row.get("memory_limit_bytes")),
    )


def _difficulty(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 0 <= value < len(_DIFFICULTIES):
        raise RowError(f"difficulty is {value}, not 0 to {len(_DIFFICULTIES) - 1}")
    return _DIFFICULTIES[value]


def _seconds(value: Any) -> float | None:
    if value is None or isinstance(value, int | float):
        return value or None
    if not isinstance(value, dict):
        raise RowError(f"time_limit is {a_type(value)}, not an object with seconds and nanos")
    try:
        return float(value.get("seconds") or 0) + float(value.get("nanos") or 0) / 1e9 or None
    except (TypeError, ValueError, OverflowError):
        raise RowError("time_limit has no number of seconds and nanos") from None


def _mebibytes(value: Any) -> float | None:
    """Return the limit; None for 0, which means that the source names none."""
    try:
        return value / 2**20 if isinstance(value, int | float) and value > 0 else None
    except OverflowError:
        raise RowError("memory_limit_bytes is no size of a memory") from None


FORMAT = Format(
    name="CodeContests",
    about="deepmind/code_contests; Python 3 solutions, all three kinds of tests",
    keys=("name", "description", "public_tests", "private_tests", "solutions"),
    read=_read,
)
