"""HumanEval (Chen et al. 2021), and HumanEval+ as it is on the hub."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.problems.formats import evalplus
from stepcoder_dist.problems.formats.draft import Draft, Format, identifier, text
from stepcoder_dist.problems.row_parts.code_prompt import before_function


def _read(row: dict[str, Any], _where: str) -> Draft:
    prompt, entry_point = text(row, "prompt"), text(row, "entry_point")
    preamble = before_function(prompt, entry_point)
    found = Draft(
        problem_id=f"humaneval/{identifier(row.get('task_id')).rpartition('/')[2]}",
        statement=prompt,
        solutions=[prompt + text(row, "canonical_solution")],
        # what the prompt defines before the function is there for every program
        setup_code=preamble,
        test_code=preamble + text(row, "test"),
        entry_point=entry_point,
    )
    if evalplus.holds_cases(text(row, "test")):
        found.problem_id = found.problem_id.replace("humaneval/", "humanevalplus/", 1)
        evalplus.take_tests(found, text(row, "test"))
    return found


FORMAT = Format(
    name="HumanEval",
    about="openai/human-eval; evalplus/humanevalplus",
    keys=("task_id", "prompt", "entry_point", "test"),
    usual=("canonical_solution",),
    read=_read,
)
