"""From the tests of a row to a `TestSuite`; the meaning of its values is settled once a problem.

    no fn_name     standard input and output, text
    fn_name        argument lists and return values
    test_code      an assert script: turned into call tests where possible, else kept

APPS leaves some of the meaning open: single return values wrapped in lists, arguments that are JSON
text, dictionaries whose keys were integers before JSON made texts of them. All tests of a problem
have one reading. A checker that accepts either reading in each test would accept the first element
of a right answer.
"""

from __future__ import annotations

import contextlib
import json
import keyword
import math
import re
import reprlib
from collections.abc import Sequence
from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems import reference_code
from stepcoder_dist.problems.assert_script import call_tests, called_name
from stepcoder_dist.problems.formats import Draft, a_type
from stepcoder_dist.records import TestSuite

LEETCODE_IMPORTS = (
    "import bisect, collections, fractions, functools, heapq, itertools, math, random, re\n"
    "import string, sys, time\n"
    "from bisect import bisect_left, bisect_right, insort\n"
    "from collections import ChainMap, Counter, OrderedDict, defaultdict, deque\n"
    "from functools import cmp_to_key, lru_cache, reduce\n"
    "from heapq import heapify, heappop, heappush, heappushpop, heapreplace, nlargest, nsmallest\n"
    "from itertools import accumulate, combinations, permutations, product\n"
    "from math import ceil, cos, exp, fabs, floor, gcd, log, log2, sin, sqrt, tan\n"
    "from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union\n"
)
"""The imports of APPS's checker before a call-based solution; the solutions rely on them."""

_INTEGER = re.compile(r"0|-?[1-9]\d{0,99}", re.ASCII)
"""A key that JSON made of an integer."""
_MIB = 2**20
_MOST_LIMIT = 1e9
"""The largest limit, in seconds or MiB: 30 years, a petabyte."""


def suite(found: Draft, reference: str) -> tuple[TestSuite, bool]:
    """Build the suite; the flag is False where only running a solution could settle a reading.

    Raises `RowError` for missing, unequal or mistyped tests and impossible limits.
    """
    given = found.inputs, found.outputs
    inputs, outputs = _pairs(*(map(listed, given) if found.apps else given))
    fn_name = _function_name(found.fn_name)
    entry_point, script = found.entry_point or None, found.test_code
    strict_types = found.strict_types
    if script.strip():
        turned = call_tests(script, entry_point or fn_name, found.parameters)
        if turned and (not inputs or turned.fn_name == fn_name):
            fn_name, script = turned.fn_name, ""
            strict_types = not inputs and not turned.any_sequence
            inputs, outputs = [*inputs, *turned.inputs], [*outputs, *turned.outputs]
        else:
            script = reference_code.imports_for(reference, script) + script
            entry_point = entry_point or fn_name or called_name(script)
    elif not inputs:
        raise RowError("no tests")
    if found.apps and fn_name and all(isinstance(i, str) for i in inputs):
        # APPS+ v1 names the zero-argument function around a program on standard input
        fn_name = None
    settled = True
    if inputs and fn_name is None:
        if found.apps:
            outputs = [_number_as_text(output) for output in outputs]
        inputs, outputs = _texts(inputs, "input"), _texts(outputs, "output")
        if found.apps:  # tests from judges on Windows, where no program sees `\r`
            inputs = [text.replace("\r\n", "\n") for text in inputs]
    elif inputs:
        inputs, outputs = _read_lines(inputs, outputs)
        inputs = _argument_lists(inputs)
        if found.apps:
            inputs, outputs = _decoded(inputs, outputs)
            inputs = _with_integer_keys(inputs)
            outputs, settled = _unwrapped(outputs, reference, found.starter_code, fn_name or "")
    return TestSuite(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        fn_name=fn_name,
        comparison=found.comparison or "tokens",
        strict_types=strict_types,
        checker=_checker(found),
        setup_code=found.setup_code.replace("\r\n", "\n") or _imports(found, fn_name),
        test_code=script,
        entry_point=entry_point or fn_name,
        cpu_limit_s=_limit(found.time_limit_s, "time_limit_s"),
        memory_limit_bytes=_bytes(_limit(found.memory_limit_mb, "memory_limit_mb")),
    ), settled


def _checker(found: Draft) -> str:
    """Return the user's own checker, which runs in the sandbox and is only parsed here."""
    checker = found.checker.replace("\r\n", "\n")
    if not checker.strip():
        return ""
    if found.comparison:
        raise RowError("it has both a comparison and a checker")
    complaint = reference_code.complaint(checker)
    if complaint is not None:
        raise RowError(f"its checker does not parse: {complaint}")
    if not reference_code.defines(checker, "check"):
        raise RowError("its checker defines no function check(input, expected, actual)")
    return checker


def one_element_lists(outputs: Sequence[Any]) -> bool:
    return all(isinstance(o, list) and len(o) == 1 for o in outputs)


def _pairs(inputs: Any, outputs: Any) -> tuple[list[Any], list[Any]]:
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if value is not None and not isinstance(value, list):
            raise RowError(f"{name} is {a_type(value)}, not a list")
    inputs, outputs = inputs or [], outputs or []
    if len(inputs) != len(outputs):
        raise RowError(
            f"{len(inputs)} {_plural('input', inputs)} but "
            f"{len(outputs)} {_plural('output', outputs)}"
        )
    return inputs, outputs


def listed(value: Any) -> Any:
    """Decode a list that is JSON text in the row, as in tables."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            decoded = json.loads(value)
            return decoded if isinstance(decoded, list) else value
    return value


def _number_as_text(output: Any) -> Any:
    number = isinstance(output, int | float) and not isinstance(output, bool)
    return str(output) if number else output


def _plural(noun: str, items: list[Any]) -> str:
    return noun if len(items) == 1 else noun + "s"


def _function_name(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isidentifier() or keyword.iskeyword(value):
        raise RowError(f"fn_name {value!r} is no name of a function")
    return value


def _texts(values: list[Any], what: str) -> list[str]:
    """Return standard input or output of each test; a list of lines, as in APPS, is joined."""
    texts = []
    for number, value in enumerate(values, start=1):
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            texts.append("\n".join(value))
        elif isinstance(value, str):
            texts.append(value)
        else:
            raise RowError(f"{what} {number} is {a_type(value)}, not text, and there is no fn_name")
    return texts


def _read_lines(inputs: list[Any], outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    """Read tests as LiveCodeBench writes them: a JSON text for each argument, one a line.

    Anything else stays as it is.
    """
    if all(isinstance(value, str) for value in (*inputs, *outputs)):
        with contextlib.suppress(ValueError, RecursionError):
            return (
                [[json.loads(line) for line in text.rstrip().split("\n")] for text in inputs],
                [json.loads(text) for text in outputs],
            )
    return inputs, outputs


def _argument_lists(values: list[Any]) -> list[list[Any]]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, list):
            raise RowError(f"input {number} is {a_type(value)}, not a list of arguments")
    return values


def _decoded(inputs: list[list[Any]], outputs: list[Any]) -> tuple[list[list[Any]], list[Any]]:
    """Decode arguments that are JSON text, if every text argument of every test is.

    Bare numbers alone do not count: a function of the text "12" looks the same.
    """
    texts = [a for arguments in inputs for a in arguments if isinstance(a, str)]
    if not _all_json(texts):
        return inputs, outputs
    plain = [[json.loads(a) if isinstance(a, str) else a for a in args] for args in inputs]
    if _all_json([o for o in outputs if isinstance(o, str)]):
        outputs = [json.loads(o) if isinstance(o, str) else o for o in outputs]
    return plain, outputs


def _all_json(texts: list[str]) -> bool:
    try:
        values = [json.loads(text) for text in texts]
    except (ValueError, RecursionError):
        return False
    return any(isinstance(value, str | list | dict) for value in values)


def _with_integer_keys(inputs: list[list[Any]]) -> list[list[Any]]:
    """Undo what JSON does to keys, where every key of every dictionary argument is an integer.

    APPS's own checker does the same, and its solutions look up integers.
    """
    keys = [key for args in inputs for a in args if isinstance(a, dict) for key in a]
    if not keys or not all(_INTEGER.fullmatch(key) for key in keys):
        return inputs
    return [
        [{int(k): v for k, v in a.items()} if isinstance(a, dict) else a for a in arguments]
        for arguments in inputs
    ]


def _unwrapped(
    outputs: list[Any], reference: str, starter_code: str, fn_name: str
) -> tuple[list[Any], bool]:
    """Take single return values out of their lists, unless the function returns lists.

    The reference shows that, or the starter code's annotation. Where neither does, the values are
    taken out, as APPS's own checker does, and the reading counts as not settled.
    """
    if not one_element_lists(outputs):
        return outputs, True
    lists = reference_code.returns_list(reference, fn_name)
    if lists is None:
        lists = reference_code.returns_list(starter_code.rstrip() + " pass\n", fn_name)
    return (outputs if lists else [o[0] for o in outputs]), lists is not None


def _imports(found: Draft, fn_name: str | None) -> str:
    silent = fn_name is not None and (found.apps or "class Solution" in found.starter_code)
    return LEETCODE_IMPORTS if silent else ""


def _limit(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value > 0 or value == math.inf:  # nan is not above 0
        raise RowError(f"{name} is {reprlib.repr(value)}, not a positive number")
    if value > _MOST_LIMIT:
        raise RowError(f"{name} is {reprlib.repr(value)}, above {_MOST_LIMIT:g}")
    return float(value)


def _bytes(mebibytes: float | None) -> int | None:
    return None if mebibytes is None else int(mebibytes * _MIB)
