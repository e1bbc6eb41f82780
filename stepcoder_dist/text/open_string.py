"""Whether a place in a program is inside of a string over several lines.

A parser would not do: the rest of the program is unknown or no Python.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      \#[^\r\n]*
    | '''(?:[^\\]|\\.)*?(?P<one>'''|\Z)
    | \"""(?:[^\\]|\\.)*?(?P<two>\"""|\Z)
    | '(?:[^\\\r\n']|\\(?:\r\n|.))*'
    | "(?:[^\\\r\n"]|\\(?:\r\n|.))*"
    """,
    re.VERBOSE | re.DOTALL,
)
"""Comments and strings; a string in three quotes that has no end runs to the end of the text."""


def ends_in_string(source: str) -> bool:
    """Return whether a program that begins with `source` is inside such a string at its end."""
    if '"""' not in source and "'''" not in source:
        return False
    return any("" in (found["one"], found["two"]) for found in _TOKEN.finditer(source))
