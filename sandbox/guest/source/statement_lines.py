"""Lines and columns of single statements, from the AST and the text, without recursion."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

_LINE_END = re.compile(r"\r\n|\r|\n")
_BLOCK_FIELDS = ("body", "handlers", "cases", "orelse", "finalbody")
_CONSTANT_NODES = (
    ast.Constant,
    ast.UnaryOp,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.Tuple,
    ast.JoinedStr,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
)


def physical_lines(source: str) -> list[str]:
    """Split at \\r\\n, \\r and \\n only; a line end at the very end begins no further line."""
    lines = _LINE_END.split(source)
    return lines[:-1] if not lines[-1] else lines


def indent_of(line: str) -> int:
    """Return the column of the first character, with tabs as Python counts them."""
    return len((line[: len(line) - len(line.lstrip(" \t\f"))]).replace("\f", "").expandtabs(8))


def first_line(statement: Any) -> int:
    decorators = getattr(statement, "decorator_list", None)
    lines = [statement.lineno, *(d.lineno for d in decorators or ())]
    return int(min(lines))


def header_end_of(node: Any) -> int:
    """Return the last line of the expressions in a compound statement's header."""
    last = int(getattr(node, "lineno", 0))
    waiting = [
        child
        for field, value in ast.iter_fields(node)
        if field not in _BLOCK_FIELDS
        for child in (value if isinstance(value, list) else [value])
        if isinstance(child, ast.AST)
    ]
    while waiting:
        child = waiting.pop()
        end = getattr(child, "end_lineno", None)
        if end is None:
            waiting.extend(ast.iter_child_nodes(child))
        else:
            last = max(last, end)
    return last


def no_code_by_nature(statement: Any) -> bool:
    if isinstance(statement, ast.Global | ast.Nonlocal):
        return True
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    return isinstance(statement, ast.Expr) and all(
        isinstance(node, _CONSTANT_NODES) for node in _walk(statement.value)
    )


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(ast.iter_child_nodes(node))
