"""The fields of a row by our names, and how a format reads them.

Only names and places of fields are settled here; `problems/tests.py` settles what the values mean.
Nothing of a row is executed or unpickled.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepcoder_dist.errors import RowError


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
    parameters: tuple[str, ...] = ()
    """Names of the function's parameters, where the tests pass arguments by name."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write problems down."""

    name: str
    about: str
    """One line for `stepcoder data formats`."""
    keys: tuple[str, ...]
    """Keys that a row of this format has. Another format of the registry does not need all of them,
    or it comes later."""
    any_key: bool = False
    """Whether one of the keys is enough."""
    usual: tuple[str, ...] = ()
    """Keys that its rows often have besides, by which an unknown row is likened to it."""
    read: Callable[[dict[str, Any], str], Draft]
    """Makes the draft of a row; the second argument is the row's place. Raises `RowError`."""

    def fits(self, row: Mapping[str, Any]) -> bool:
        return (any if self.any_key else all)(key in row for key in self.keys)


def a_type(value: Any) -> str:
    """Return the type in words (`a list`, `an int`), for an error about a value's type."""
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def identifier(value: Any) -> str:
    """Return an id as text. Raises `RowError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"the id is {reprlib.repr(value)}, not a text or an integer")
    text = str(value).strip()
    if not text or not text.isprintable():
        raise RowError(f"the id {reprlib.repr(value)} is empty or not printable")
    return text


def own_id(row: dict[str, Any], where: str, *keys: str) -> str:
    """Return the source's own id; where the row has none, the row's number in its file."""
    for key in keys:
        if row.get(key) is not None:
            return identifier(row[key])
    number = re.search(r"\d+$", where)
    return number[0] if number else where


def text(row: dict[str, Any], key: str) -> str:
    """Return a text, empty where the row has none. Raises `RowError` for another type."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"{key} is {a_type(value)}, not text")
    return value


def flag(row: dict[str, Any], key: str) -> bool:
    """Return a boolean, False where the row has none. Raises `RowError` for another type."""
    value = row.get(key)
    if not isinstance(value, bool | None):
        raise RowError(f"{key} is {a_type(value)}, not true or false")
    return bool(value)


def first_text(row: dict[str, Any], *keys: str) -> str:
    """Return the first text that is not empty."""
    return next((found for key in keys if (found := text(row, key))), "")


def from_json(value: Any, key: str) -> Any:
    """Decode a field that holds JSON text. Raises `RowError`."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise RowError(f"{key} is not valid JSON") from None


def texts(value: Any, key: str, what: str) -> list[str]:
    """Return a list of texts, or of JSON text that is one. Raises `RowError`."""
    found = from_json(value, key) or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise RowError(f"{key} is no list of {what}")
    return found


def records(value: Any, key: str) -> list[dict[str, Any]]:
    """Return a list of objects, or of JSON text that is one. Raises `RowError`."""
    found = from_json(value, key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise RowError(f"{key} is no list of objects")
    return found


def columns(value: Any, key: str, names: Sequence[str]) -> list[list[Any]]:
    """Return the columns of a table that is written as an object of lists, or as a list of objects.

    Tables written by columns come from JSON, those by rows from parquet files. Raises `RowError`.
    """
    table = from_json(value, key) or {}
    if isinstance(table, list) and all(isinstance(item, dict) for item in table):
        return [[item.get(name) for item in table] for name in names]
    found = [table.get(name) or [] for name in names] if isinstance(table, dict) else []
    lengths = {len(column) if isinstance(column, list) else -1 for column in found}
    if len(lengths) != 1 or -1 in lengths:
        raise RowError(f"{key} is no object with lists of equal length: {', '.join(names)}")
    return found
