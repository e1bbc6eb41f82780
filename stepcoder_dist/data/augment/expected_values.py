"""The reference's answer as an expected value, if it is of the kind that the tests expect.

A function that returns `None` or a text where every test expects a number has been asked something
that the statement does not allow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

_LONGEST = 20_000
"""Longest expected value in characters, if no longer one was seen."""


def expected_value(answer: Any, seen: Sequence[Any]) -> Any | None:
    """Return the answer as an expected value; None where it is of another kind than those seen."""
    if isinstance(answer, str) and all(isinstance(one, str) for one in seen):
        return _text(answer, seen)
    if not any(map(_has_tuple, seen)):
        answer = _lists(answer)
    if _kind(answer) not in set(map(_kind, seen)) or answer is None or not _finite(answer):
        return None
    if all(map(is_json, seen)) and not is_json(answer):
        return None
    return answer if len(repr(answer)) <= _longest(seen) else None


def is_json(value: Any) -> bool:
    """Return whether JSON preserves the value."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _text(answer: str, seen: Sequence[str]) -> str | None:
    blank = not answer.strip() and all(one.strip() for one in seen)
    unreadable = "\ufffd" in answer
    return None if blank or unreadable or len(answer) > _longest(seen) else answer


def _longest(seen: Sequence[Any]) -> int:
    return max(_LONGEST, *(len(repr(one)) for one in seen))


def _kind(value: Any) -> type:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float
    return type(value)


def _has_tuple(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_tuple, value))
    if isinstance(value, dict):
        return any(map(_has_tuple, value.values()))
    return isinstance(value, tuple)


def _lists(value: Any) -> Any:
    """Return the value with tuples as lists, as a JSON file has them."""
    if isinstance(value, list | tuple):
        return [_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return value


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
