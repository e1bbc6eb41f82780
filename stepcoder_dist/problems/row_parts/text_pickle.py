"""Texts and lists out of a pickle, without unpickling it.

A pickle is a program for a machine that can import and call anything. This reader knows only the
instructions that put texts, numbers and lists together, and refuses every other.
"""

from __future__ import annotations

import pickletools
from typing import Any

_MARK = object()
_VALUES = {
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "BINFLOAT", "FLOAT"),
}
_IGNORED = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}


def read(data: bytes) -> Any:  # noqa: C901 - one line for each instruction
    """Return the text, number or list that a pickle holds. Raises `ValueError` for others."""
    stack: list[Any] = []
    try:
        for instruction, argument, _ in pickletools.genops(data):
            name = instruction.name
            if name in _VALUES:
                stack.append(argument)
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "MARK":
                stack.append(_MARK)
            elif name == "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            elif name in ("APPENDS", "LIST"):
                at = len(stack) - 1 - stack[::-1].index(_MARK)
                items = stack[at + 1 :]
                del stack[at:]
                if name == "LIST":
                    stack.append(items)
                else:
                    stack[-1].extend(items)
            elif name == "STOP":
                (value,) = stack
                return value
            elif name not in _IGNORED:
                raise ValueError(f"a pickle with more than texts and lists ({name})")
    except (IndexError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"a damaged pickle ({error})") from None
    raise ValueError("a pickle that is cut short")
