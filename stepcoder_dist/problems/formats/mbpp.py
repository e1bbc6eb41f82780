"""MBPP (Austin et al. 2021), all rows and sanitized ones, and MBPP+ as it is on the hub."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.formats import evalplus
from stepcoder_dist.problems.formats.draft import Draft, Format, a_type, first_text, own_id, text


def _read(row: dict[str, Any], where: str) -> Draft:
    asserts = row["test_list"]
    if not isinstance(asserts, list) or not all(isinstance(a, str) for a in asserts):
        raise RowError("test_list is no list of asserts")
    imports = row.get("test_imports") or []
    if not isinstance(imports, list):
        raise RowError(f"test_imports is {a_type(imports)}, not a list of imports")
    setup = "\n".join([*map(str, imports), text(row, "test_setup_code")]).strip()
    task = first_text(row, "text", "prompt").strip()
    script = "\n".join(assertion.strip() for assertion in asserts)
    found = Draft(
        problem_id=f"mbpp/{own_id(row, where, 'task_id')}",
        statement=f"{task}\nYour code should pass these tests:\n{script}",
        solutions=[text(row, "code")],
        setup_code=setup + "\n" if setup else "",
        test_code=script,
    )
    if text(row, "test"):
        found.problem_id = found.problem_id.replace("mbpp/", "mbppplus/", 1)
        evalplus.take_tests(found, text(row, "test"))
    return found


FORMAT = Format(
    name="MBPP",
    about="google-research MBPP, all or sanitized; evalplus/mbppplus",
    keys=("test_list",),
    usual=("task_id", "text", "code", "test_setup_code", "test_imports", "source_file"),
    read=_read,
)
