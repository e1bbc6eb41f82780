"""APPS as JSON lines (`codeparrot/apps`), and the rows that are made of its folders."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.formats.draft import Draft, Format, from_json, own_id, text, texts


def read(row: dict[str, Any], where: str) -> Draft:
    """Read a row of APPS, or of a set that took over its fields. Raises `RowError`."""
    name = own_id(row, where, "problem_id", "id")
    tests = from_json(row["input_output"], "input_output") or {}
    if not isinstance(tests, dict):
        raise RowError("input_output is no object with inputs and outputs")
    return Draft(
        problem_id=name if "/" in name else f"apps/{name}",
        statement=text(row, "question"),
        solutions=texts(row.get("solutions"), "solutions", "programs"),
        level=row.get("difficulty"),
        starter_code=text(row, "starter_code"),
        inputs=tests.get("inputs"),
        outputs=tests.get("outputs"),
        fn_name=tests.get("fn_name"),
        apps=True,
    )


FORMAT = Format(
    name="APPS",
    about="hendrycks/apps, codeparrot/apps; also a folder of 0000/question.txt, …",
    keys=("input_output",),
    usual=("question", "solutions", "starter_code", "difficulty", "url"),
    read=read,
)
