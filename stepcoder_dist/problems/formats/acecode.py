"""AceCode-87K (Zeng et al. 2025, `TIGER-Lab/AceCode-87K`): asserts, and no reference."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.problems.formats.draft import Draft, Format, own_id, text, texts


def _read(row: dict[str, Any], where: str) -> Draft:
    asserts = texts(row["test_cases"], "test_cases", "asserts")
    return Draft(
        problem_id=f"acecode/{own_id(row, where, 'id')}",
        statement=text(row, "question"),
        test_code="\n".join(assertion.strip() for assertion in asserts),
    )


FORMAT = Format(
    name="AceCode",
    about="TIGER-Lab/AceCode-87K; no references",
    keys=("id", "question", "test_cases"),
    read=_read,
)
