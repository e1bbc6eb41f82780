"""Rows of our own, of `stepcoder judge`, and of APPS+: `inputs` and `outputs`, or `test_code`."""

from __future__ import annotations

import re
from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems import python_values
from stepcoder_dist.problems.formats.draft import (
    Draft,
    Format,
    first_text,
    flag,
    identifier,
    own_id,
    text,
    texts,
)

OWN_FORMAT = "stepcoder"
"""The value of `format` in rows that this project wrote: they mean what they say, and no
convention of APPS is assumed."""

PYTHON_TEXT = "python"
"""The value of `values` in our rows whose inputs and outputs are each the text of a Python literal,
since JSON has no tuples, sets or bytes."""


def _read(row: dict[str, Any], where: str) -> Draft:
    own = row.get("problem_id")
    settled = row.get("format") == OWN_FORMAT
    apps_plus = not settled and ("canonical_solution" in row or "prompt" in row)
    if isinstance(own, str) and not (apps_plus and own.isdigit()):
        name = identifier(own)
    else:
        given = own_id(row, where, "problem_id", "id", "task_id")
        name = f"apps_plus/{given}" if apps_plus else f"{_stem(where)}/{given}"
    reference = first_text(row, "reference", "canonical_solution", "solution")
    return Draft(
        problem_id=name,
        statement=first_text(row, "statement", "prompt", "question"),
        solutions=[reference]
        if reference.strip()
        else texts(row.get("solutions"), "solutions", "programs"),
        level=row.get("level", row.get("difficulty")),
        starter_code=text(row, "starter_code"),
        inputs=_values(row, "inputs"),
        outputs=_values(row, "outputs"),
        fn_name=row.get("fn_name"),
        comparison=text(row, "comparison"),
        strict_types=flag(row, "strict_types"),
        checker=text(row, "checker"),
        setup_code=text(row, "setup_code"),
        test_code=text(row, "test_code"),
        entry_point=text(row, "entry_point") or None,
        time_limit_s=row.get("time_limit_s"),
        memory_limit_mb=row.get("memory_limit_mb"),
        apps=name.startswith("apps") and not settled,
    )


def _stem(where: str) -> str:
    return re.split(r"[/\\]", where)[-1].split(".")[0].split(":")[0] or "problem"


def _values(row: dict[str, Any], key: str) -> Any:
    """Return inputs or outputs; decode Python text where the row says that they are Python text."""
    values = row.get(key)
    if row.get("values") is None:
        return values
    if row["values"] != PYTHON_TEXT:
        raise RowError(f"values is {row['values']!r}, not {PYTHON_TEXT!r}")
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise RowError(f"{key} is no list of Python literals, as values says")
    try:
        return [python_values.read(value) for value in values]
    except ValueError as error:
        raise RowError(f"{key}: {error}") from None


FORMAT = Format(
    name="our own",
    about="rows of this project, of `stepcoder judge`, and of APPS+",
    keys=("inputs", "outputs", "test_code"),
    any_key=True,
    usual=("problem_id", "statement", "reference", "fn_name", "level"),
    read=_read,
)
