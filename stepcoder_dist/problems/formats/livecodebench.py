"""LiveCodeBench (Jain et al. 2024), code_generation and code_generation_lite."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.formats.draft import (
    Draft,
    Format,
    a_type,
    from_json,
    own_id,
    records,
    text,
)
from stepcoder_dist.problems.row_parts import text_pickle

_MOST_BYTES = 2**31
"""Of a row's private tests when they are unpacked; the largest published ones have 300 MB."""


def _read(row: dict[str, Any], where: str) -> Draft:
    cases = records(row["public_test_cases"], "public_test_cases")
    cases = cases + records(_unpacked(row["private_test_cases"]), "private_test_cases")
    metadata = from_json(row.get("metadata"), "metadata") or {}
    if not isinstance(metadata, dict):
        raise RowError(f"metadata is {a_type(metadata)}, not an object")
    kinds = {case.get("testtype") for case in cases}
    if kinds - {"stdin", "functional"} or len(kinds) > 1:
        raise RowError(f"testtype is {sorted(map(str, kinds))}, not stdin or functional for all")
    called = kinds == {"functional"}
    if called and not metadata.get("func_name"):
        raise RowError("its tests are functional, and metadata names no func_name")
    return Draft(
        problem_id=f"livecodebench/{own_id(row, where, 'question_id')}",
        statement=text(row, "question_content"),
        level=row.get("difficulty"),
        starter_code=text(row, "starter_code"),
        inputs=[case.get("input") for case in cases],
        outputs=[case.get("output") for case in cases],
        fn_name=metadata["func_name"] if called else None,
    )


def _unpacked(value: Any) -> Any:
    """Return private tests as JSON text, out of base64 of zlib of a pickle of that text."""
    if not isinstance(value, str) or value.lstrip()[:1] in ("[", ""):
        return value
    unzip = zlib.decompressobj()
    try:
        data = unzip.decompress(base64.b64decode(value, validate=True), _MOST_BYTES)
        found = text_pickle.read(data if unzip.eof else b"")
        return json.loads(found) if isinstance(found, str) else found
    except (ValueError, zlib.error, RecursionError) as error:
        raise RowError(f"private_test_cases cannot be read: {error}") from None


FORMAT = Format(
    name="LiveCodeBench",
    about="livecodebench/code_generation, …_lite; no references; chosen by date",
    keys=("question_content", "question_id", "public_test_cases", "private_test_cases"),
    usual=("question_title", "platform", "contest_id", "contest_date", "starter_code"),
    read=_read,
)
