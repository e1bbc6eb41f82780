"""LeetCodeDataset (Xia et al. 2025, `newfacade/LeetCodeDataset`): a method, and asserts by name."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.problems.formats.code_prompt import parameters
from stepcoder_dist.problems.formats.draft import Draft, Format, identifier, text


def _read(row: dict[str, Any], _where: str) -> Draft:
    starter, completion = text(row, "starter_code"), text(row, "completion")
    name = text(row, "entry_point").rpartition(".")[2]  # of Solution().twoSum
    return Draft(
        problem_id=f"leetcode/{identifier(row['task_id'])}",
        statement=text(row, "problem_description").replace("\xa0", " "),
        solutions=[completion],
        level=row.get("difficulty"),
        starter_code=starter,
        parameters=parameters(starter, name) or parameters(completion, name),
        # the imports, and the lists and trees that the tests are made of
        setup_code=text(row, "prompt"),
        test_code=text(row, "test"),
        entry_point=name,
    )


FORMAT = Format(
    name="LeetCodeDataset",
    about="newfacade/LeetCodeDataset",
    keys=("task_id", "problem_description", "completion", "entry_point", "test"),
    usual=("starter_code", "input_output", "query", "response"),
    read=_read,
)
