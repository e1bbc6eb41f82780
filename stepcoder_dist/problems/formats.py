"""From a row of a published problem set to a `Draft`, with the same fields whatever the source.

    our own / APPS+ / judge rows   `inputs` and `outputs`, or `test_code`
    APPS                           `input_output`
    MBPP                           `test_list`
    HumanEval                      `test` and `entry_point`

Only names and places of fields are settled here; `tests.py` settles what the values mean.
"""

from __future__ import annotations

import ast
import json
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems import python_values
from stepcoder_dist.problems.assert_script import parse

OWN_FORMAT = "stepcoder"
"""The value of `format` in rows that this project wrote: they mean what they say, and no
convention of APPS is assumed."""


PYTHON_TEXT = "python"
"""The value of `values` in our rows whose inputs and outputs are each the text of a Python literal,
since JSON has no tuples, sets or bytes."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """A row's fields by our names, with unchanged values."""

    problem_id: str
    statement: str = ""
    solutions: list[str] = field(default_factory=list)
    """Solutions in the source's order; the first that parses becomes the reference."""
    level: Any = None
    starter_code: str = ""
    inputs: Any = None
    outputs: Any = None
    fn_name: Any = None
    comparison: str = ""
    strict_types: bool = False
    checker: str = ""
    setup_code: str = ""
    test_code: str = ""
    entry_point: str | None = None
    time_limit_s: Any = None
    memory_limit_mb: Any = None
    apps: bool = False
    """Whether the row descends from APPS, which wraps return values, writes arguments as JSON text
    and relies on LeetCode's silent imports."""


def a_type(value: Any) -> str:
    """The type in words (`a list`, `an int`), for an error about a value of the wrong type."""
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def draft(row: Any, where: str) -> Draft:
    """Detect the format by its keys and bring the row into one shape. Raises `RowError`."""
    if not isinstance(row, dict):
        raise RowError(f"the row is {a_type(row)}, not an object")
    for key, read in _READERS.items():
        if key in row:
            return read(row, where)
    raise RowError(
        f"keys {', '.join(map(str, list(row)[:6])) or '(none)'} fit no known format: "
        "no inputs and outputs, input_output, test_list, test or test_code"
    )


def problem_id(row: Any, where: str) -> str | None:
    """The id that the row would get, for an error about the row; None where it has none."""
    try:
        return draft(row, where).problem_id
    except (RowError, ValueError, RecursionError):
        value = row.get("problem_id") if isinstance(row, dict) else None
        return value if isinstance(value, str) else None


def _common(row: dict[str, Any], where: str) -> Draft:
    """Read a row of our own schema, of `judge`, or of APPS+."""
    own = row.get("problem_id")
    settled = row.get("format") == OWN_FORMAT
    apps_plus = not settled and ("canonical_solution" in row or "prompt" in row)
    if isinstance(own, str) and not (apps_plus and own.isdigit()):
        name = _id(own)
    else:
        number = next(
            (row[k] for k in ("problem_id", "id", "task_id") if row.get(k) is not None), None
        )
        given = _id(number) if number is not None else re.sub(r"\D*(\d+)$", r"\1", where)
        name = f"apps_plus/{given}" if apps_plus else f"{_stem(where)}/{given}"
    reference = _first_text(row, "reference", "canonical_solution", "solution")
    return Draft(
        problem_id=name,
        statement=_first_text(row, "statement", "prompt", "question"),
        solutions=[reference] if reference.strip() else _solutions(row.get("solutions")),
        level=row.get("level", row.get("difficulty")),
        starter_code=_text(row, "starter_code"),
        inputs=_values(row, "inputs"),
        outputs=_values(row, "outputs"),
        fn_name=row.get("fn_name"),
        comparison=_text(row, "comparison"),
        strict_types=_flag(row, "strict_types"),
        checker=_text(row, "checker"),
        setup_code=_text(row, "setup_code"),
        test_code=_text(row, "test_code"),
        entry_point=_text(row, "entry_point") or None,
        time_limit_s=row.get("time_limit_s"),
        memory_limit_mb=row.get("memory_limit_mb"),
        apps=name.startswith("apps") and not settled,
    )


def _apps(row: dict[str, Any], where: str) -> Draft:
    number = next((row[k] for k in ("problem_id", "id") if row.get(k) is not None), None)
    name = _id(number) if number is not None else re.sub(r"\D*(\d+)$", r"\1", where)
    tests = _json(row["input_output"], "input_output") or {}
    if not isinstance(tests, dict):
        raise RowError("input_output is no object with inputs and outputs")
    return Draft(
        problem_id=name if "/" in name else f"apps/{name}",
        statement=_text(row, "question"),
        solutions=_solutions(row.get("solutions")),
        level=row.get("difficulty"),
        starter_code=_text(row, "starter_code"),
        inputs=tests.get("inputs"),
        outputs=tests.get("outputs"),
        fn_name=tests.get("fn_name"),
        apps=True,
    )


def _mbpp(row: dict[str, Any], where: str) -> Draft:
    asserts = row["test_list"]
    if not isinstance(asserts, list) or not all(isinstance(a, str) for a in asserts):
        raise RowError("test_list is no list of asserts")
    number = (
        row["task_id"] if row.get("task_id") is not None else re.sub(r"\D*(\d+)$", r"\1", where)
    )
    imports = row.get("test_imports") or []
    if not isinstance(imports, list):
        raise RowError(f"test_imports is {a_type(imports)}, not a list of imports")
    setup = "\n".join([*map(str, imports), _text(row, "test_setup_code")]).strip()
    task = _first_text(row, "text", "prompt").strip()
    script = "\n".join(assertion.strip() for assertion in asserts)
    return Draft(
        problem_id=f"mbpp/{_id(number)}",
        statement=f"{task}\nYour code should pass these tests:\n{script}",
        solutions=[_text(row, "code")],
        setup_code=setup + "\n" if setup else "",
        test_code=script,
    )


def _human_eval(row: dict[str, Any], _where: str) -> Draft:
    prompt, entry_point = _text(row, "prompt"), _text(row, "entry_point")
    preamble = _before_function(prompt, entry_point)
    return Draft(
        problem_id=f"humaneval/{_id(row.get('task_id')).rpartition('/')[2]}",
        statement=prompt,
        solutions=[prompt + _text(row, "canonical_solution")],
        # what the prompt defines before the function is there for every program
        setup_code=preamble,
        test_code=preamble + _text(row, "test"),
        entry_point=entry_point,
    )


_READERS: dict[str, Callable[[dict[str, Any], str], Draft]] = {
    "input_output": _apps,
    "test_list": _mbpp,
    "inputs": _common,
    "outputs": _common,
    "test_code": _common,
    "test": _human_eval,
}


def _before_function(prompt: str, entry_point: str) -> str:
    """The imports and helpers that precede the entry point in a HumanEval prompt."""
    try:
        tree = parse(prompt)
    except SyntaxError:
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == entry_point:
            before = "\n".join(prompt.replace("\r\n", "\n").split("\n")[: node.lineno - 1]).strip(
                "\n"
            )
            return before + "\n" if before else ""
    return ""


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"the id is {reprlib.repr(value)}, not a text or an integer")
    text = str(value).strip()
    if not text or not text.isprintable():
        raise RowError(f"the id {reprlib.repr(value)} is empty or not printable")
    return text


def _stem(where: str) -> str:
    return re.split(r"[/\\]", where)[-1].split(".")[0].split(":")[0] or "problem"


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{key} is {a_type(value)}, not text")
    return value


def _flag(row: dict[str, Any], key: str) -> bool:
    value = row.get(key)
    if not isinstance(value, bool | None):
        raise RowError(f"{key} is {a_type(value)}, not true or false")
    return bool(value)


def _first_text(row: dict[str, Any], *keys: str) -> str:
    return next((text for key in keys if (text := _text(row, key))), "")


def _json(value: Any, key: str) -> Any:
    """Decode a field that holds JSON text, as in APPS's JSONL."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise RowError(f"{key} is not valid JSON") from None


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
        return [python_values.read(text) for text in values]
    except ValueError as error:
        raise RowError(f"{key}: {error}") from None


def _solutions(value: Any) -> list[str]:
    found = _json(value, "solutions") or []
    if not isinstance(found, list) or not all(isinstance(s, str) for s in found):
        raise RowError("solutions is no list of programs")
    return found
