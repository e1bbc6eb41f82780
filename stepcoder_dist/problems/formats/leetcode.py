"""LeetCodeDataset (Xia et al. 2025, `newfacade/LeetCodeDataset`): a method, and asserts by name."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.formats.draft import Draft, Format, a_type, identifier, text
from stepcoder_dist.problems.row_parts import leetcode_nodes
from stepcoder_dist.problems.row_parts.code_prompt import parameters


def _read(row: dict[str, Any], _where: str) -> Draft:
    about = row.get("meta") or {}  # versions before 0.3 have the problem there
    if not isinstance(about, dict):
        raise RowError(f"meta is {a_type(about)}, not an object")
    starter = text(row, "starter_code") or text(about, "lang_code")
    completion = text(row, "completion")
    name = text(row, "entry_point").rpartition(".")[2]  # of Solution().twoSum
    found = Draft(
        problem_id=f"leetcode/{identifier(row['task_id'])}",
        statement=(text(row, "problem_description") or text(row, "query")).replace("\xa0", " "),
        solutions=[completion],
        level=row.get("difficulty") or about.get("difficulty"),
        starter_code=starter,
        parameters=parameters(starter, name) or parameters(completion, name),
        # the imports, and the lists and trees that the tests are made of
        setup_code=text(row, "prompt"),
        test_code=text(row, "test"),
        entry_point=name,
    )
    calls = leetcode_nodes.calls(found.test_code, name, found.parameters)
    if calls is not None:
        found.inputs, found.outputs, found.strict_types = calls.inputs, calls.outputs, True
        found.fn_name, found.test_code, found.entry_point = leetcode_nodes.FUNCTION, "", None
        found.setup_code += calls.setup_code
    return found


FORMAT = Format(
    name="LeetCodeDataset",
    about="newfacade/LeetCodeDataset",
    keys=("task_id", "completion", "entry_point", "test"),
    usual=("problem_description", "starter_code", "input_output", "query", "response"),
    read=_read,
)
