"""A program as lines of tokens, so that two programs can be compared by their code.

White space, comments, docstrings and line breaks inside of brackets are left out. A line is a
logical line. The parser is one regular expression instead of `tokenize`, for three reasons:
`tokenize` refuses Python 2 and text that was cut, of which raw sets hold plenty; it reads f-strings
differently from one Python to the next; and it is slower.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

TRIVIAL_BELOW_TOKENS = 6
"""Shorter lines (`return x`, `else:`, `i += 1`, `if a > b:`, `def main():`) do not show where they
are from. Neither do imports, however long."""

Line = tuple[str, ...]
"""The tokens of one logical line."""

_TOKEN = re.compile(
    r"""
      (?P<comment> \#[^\r\n]* )
    | (?P<joined> \\(?:\r\n|\r|\n) )
    | (?P<end> \r\n|\r|\n|; )
    | (?P<string> (?i:br|rb|fr|rf|[rbuf])? (?:
          '''(?:[^\\]|\\.)*?(?:'''|\Z) | \"""(?:[^\\]|\\.)*?(?:\"""|\Z)
        | '(?:[^\\\r\n']|\\(?:\r\n|.))*' | "(?:[^\\\r\n"]|\\(?:\r\n|.))*" ) )
    | (?P<number> 0[xX][\da-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+
        | (?:\d[\d_]*(?:\.[\d_]*)? | \.\d[\d_]*) (?:[eE][-+]?\d[\d_]*)? [jJ]? )
    | (?P<name> \w+ )
    | (?P<operator> \*\*=? | //=? | >>=? | <<=? | \.\.\. | -> | := | [-+*/%&|^=<>!@]= | [^\s\w] )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_SILENT = ("comment", "joined")


def logical_lines(source: str) -> Iterator[Line]:
    """The lines of any text, valid Python or not; blank ones are left out."""
    line: list[str] = []
    depth = 0
    docstring = True
    for found in _TOKEN.finditer(source):
        group = found.lastgroup
        if group == "end":
            if depth == 0:
                if line and not docstring:
                    yield tuple(line)
                line, docstring = [], True
        elif group not in _SILENT:
            token = found[0]
            # a closing bracket without an opening one is ignored: broken text is read line by line
            depth = max(depth + (token in _OPENING) - (token in _CLOSING), 0)
            line.append(token)
            docstring = docstring and group == "string"
    if line and not docstring:
        yield tuple(line)


def trivial(line: Line) -> bool:
    """Return whether a line could be in any program; see `TRIVIAL_BELOW_TOKENS`."""
    return len(line) < TRIVIAL_BELOW_TOKENS or line[0] in ("import", "from")


def every_line(lines: Sequence[Line]) -> set[str]:
    return {" ".join(line) for line in lines}


def telling_lines(lines: Sequence[Line]) -> set[str]:
    return {" ".join(line) for line in lines if not trivial(line)}


def ngrams(lines: Sequence[Line], n: int) -> set[str]:
    """Return every run of n tokens, across lines; none in a program of fewer than n tokens."""
    tokens = [token for line in lines for token in line]
    return {" ".join(tokens[at : at + n]) for at in range(len(tokens) - n + 1)}
