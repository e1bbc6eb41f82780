"""Plain data as Python text, for rows whose values JSON cannot hold: tuples, sets, bytes, nan.

    [(1, 2), {3}]      ↔  "[(1, 2), {3}]"
    {1: frozenset()}   ↔  "{1: frozenset([])}"

The same value gives the same text in every process: sets are written in the order of their items'
texts. Reading evaluates literals and the plain types' calls, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stepcoder_dist.errors import NotPlain
from stepcoder_dist.problems.assert_script import evaluate


def write(value: Any) -> str:
    """Write a value as text. Raises `ValueError` for other than plain data, or deep nesting."""
    try:
        text = _text(value)
        same = _text(read(text)) == text
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not same:
        raise ValueError("it cannot be written as Python text")
    return text


def read(text: str) -> Any:
    """Read a text as a value. Raises `ValueError` for anything but plain data."""
    try:
        return evaluate(text)
    except (NotPlain, SyntaxError):
        raise ValueError(f"{text[:80]!r} is no plain data in Python's notation") from None


def _text(value: Any) -> str:
    kind = type(value)
    if kind not in _WRITERS:
        raise ValueError(f"a {kind.__name__} is no plain data")
    return _WRITERS[kind](value)


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"float({str(value)!r})"


def _tuple(value: tuple[Any, ...]) -> str:
    return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"


def _items(value: set[Any] | frozenset[Any]) -> str:
    return ", ".join(sorted(map(_text, value)))


_WRITERS: dict[type, Callable[[Any], str]] = {
    **dict.fromkeys((type(None), bool, int, str, bytes), repr),
    float: _float,
    complex: lambda value: f"complex({_float(value.real)}, {_float(value.imag)})",
    list: lambda value: f"[{', '.join(map(_text, value))}]",
    tuple: _tuple,
    set: lambda value: f"{{{_items(value)}}}" if value else "set([])",
    frozenset: lambda value: f"frozenset([{_items(value)}])",
    dict: lambda value: "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}",
}
