"""Which answers EvalPlus counts as right: a checker that runs in the sandbox.

Rows get the text of this file as their `checker`, with the four names below set at its end
(`problems/formats/evalplus.py`). So it needs the standard library only, and a Python of the guest.
It follows EvalPlus's own comparison: Python's equality, or numpy's `allclose` where a tolerance
holds, and another rule for the few problems with several right answers.
"""

import copy
import math
from typing import Any

NAME = ""
"""The function under test."""
TOLERANCE = 0.0
"""Absolute; EvalPlus's `atol`. Expected floats have 1e-6 at least."""
MBPP = False
"""Whether the problem is one of MBPP+: the rules by name differ."""
REFERENCE = ""
"""The canonical solution, which says what is expected; empty where the test does."""

_SET_OF_ITEMS = (
    *("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly"),
    *("larg_nnum", "intersection_array", "find_dissimilar", "Diff"),
)
ANYTHING_BUT_NONE = ("check_str", "text_match_three", "text_starta_endb")
_defined: dict[str, Any] = {}


def check(input: Any, expected: Any, actual: Any) -> bool:  # noqa: A002 - the name of a checker's argument
    """Return whether EvalPlus accepts the answer."""
    if REFERENCE:
        expected = _expected(input)
    try:
        return bool(_right(input, expected, actual))
    except Exception:  # noqa: BLE001 - whatever an answer breaks, it is wrong
        return False


def _expected(arguments: list[Any]) -> Any:
    """Run the canonical solution; its own failure is a fault of the row."""
    if not _defined:
        exec(REFERENCE, _defined)  # noqa: S102 - this is the sandbox
    value = _defined[NAME](*copy.deepcopy(arguments))
    return value is not None if MBPP and NAME in ANYTHING_BUT_NONE else value


def _right(arguments: list[Any], expected: Any, actual: Any) -> bool:
    exact = _rule(arguments, expected, actual)
    if exact is None:
        exact = _same(expected, actual)
    tolerance = max(TOLERANCE, 1e-6) if _floats(expected) else TOLERANCE
    if exact or not tolerance:
        return exact
    return type(actual) is type(expected) and _close(expected, actual, tolerance)


def _rule(arguments: list[Any], expected: Any, actual: Any) -> bool | None:
    """Judge by the problem's own rule; None where it has none, or its rule does not accept."""
    found = None
    if not MBPP:
        if NAME == "find_zero":
            (coefficients,) = arguments
            value = math.fsum(c * actual**n for n, c in enumerate(coefficients))
            found = abs(value) <= TOLERANCE
    elif NAME in _SET_OF_ITEMS:
        found = set(actual) == set(expected)
    elif NAME in ANYTHING_BUT_NONE:
        found = (actual if isinstance(actual, bool) else actual is not None) == expected
    elif NAME == "are_equivalent":
        found = True
    elif NAME == "sum_div":
        found = actual == 0 or None
    elif NAME == "surface_Area":
        edge, height = arguments
        slant = math.sqrt((edge / 2) ** 2 + height**2)
        found = abs(actual - round(edge**2 + 2 * edge * slant)) <= TOLERANCE or None
    elif NAME == "digit_distance_nums":
        one, other = map(str, arguments)
        width = max(len(one), len(other))
        pairs = zip(one.zfill(width), other.zfill(width), strict=True)
        found = actual == sum(abs(int(a) - int(b)) for a, b in pairs) or None
    return found


def _same(expected: Any, actual: Any) -> bool:
    """Compare as Python does, but nan equals nan: a reference passes its own tests."""
    if isinstance(expected, float) and isinstance(actual, float) and math.isnan(expected):
        return math.isnan(actual)
    if isinstance(expected, list | tuple) and type(expected) is type(actual):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    return bool(expected == actual)


def _floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _close(expected: Any, actual: Any, tolerance: float) -> bool:
    if isinstance(expected, list | tuple):
        return len(expected) == len(actual) and all(
            _close(left, right, tolerance) for left, right in zip(expected, actual, strict=True)
        )
    if expected == actual or _same(expected, actual):
        return True
    # numpy's: |actual - expected| <= atol + rtol * |expected|
    return bool(abs(actual - expected) <= tolerance + 1e-7 * abs(expected) < math.inf)
