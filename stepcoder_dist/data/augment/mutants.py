"""Mutants: small wrong changes of a program, which its tests should notice.

The classic operators, on the syntax tree: arithmetic, comparisons (off by one among them),
`and`/`or`, constants, negated conditions, deleted statements, returned values, `break`/`continue`.
A mutant whose byte code equals the original's or another mutant's is dropped.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from types import CodeType
from typing import Any

from stepcoder_dist.host.even_choice import evenly

_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv, ast.Mult),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq, ast.LtE),
    ast.NotEq: (ast.Eq, ast.Lt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_BLOCKS = ("body", "orelse", "finalbody")
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass)
_MOST_NODES = 20_000


@dataclass(frozen=True, slots=True)
class _Edit:
    """One change: a function for the node at one place of a walk over the tree."""

    kind: str
    place: int
    apply: Callable[[Any], None]


def mutants(source: str, most: int, seed: int) -> list[str]:
    """Make up to `most` mutants, evenly of all kinds; the same ones for the same seed.

    There are none for a source that does not compile, that cannot be written again (a sum of
    hundreds of terms is too deep for that), or that has more than 20,000 nodes.
    """
    original = _compiled(source)
    if original is None:
        return []
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    rewritten = _written(tree)
    if len(nodes) > _MOST_NODES or rewritten is None:
        return []
    kept_out = {id(node) for node in nodes for node in _untouched(node)}
    edits = [
        edit
        for place, node in enumerate(nodes)
        if id(node) not in kept_out
        for edit in _edits(place, node)
    ]
    Random(seed).shuffle(edits)
    known = {_compiled(rewritten), original}
    found: list[str] = []
    for edit in evenly(edits, lambda e: e.kind):
        if len(found) == most:
            break
        changed = ast.parse(source)  # `deepcopy` is recursive, which fails for a long `elif`
        edit.apply(list(ast.walk(changed))[edit.place])
        text = _written(changed)
        code = _compiled(text)
        if text is not None and code is not None and code not in known:
            known.add(code)
            found.append(text)
    return found


def _written(tree: ast.Module) -> str | None:
    try:
        return ast.unparse(tree)
    except (ValueError, RecursionError):  # an f-string that Python 3.11 cannot write
        return None


def _compiled(source: str | None) -> CodeType | None:
    if source is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compile(source, "program.py", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _untouched(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below this one that do not change what the program does."""
    untouched: list[ast.AST | None] = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        untouched += [node.returns, *(argument.annotation for argument in every)]
    elif isinstance(node, ast.AnnAssign):
        untouched.append(node.annotation)
    elif isinstance(node, ast.If) and _names_main(node.test):
        untouched.append(node.test)
        yield node
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        untouched.append(node)
    elif isinstance(node, ast.JoinedStr):
        untouched += node.values
        return
    for one in untouched:
        if one is not None:
            yield from ast.walk(one)


def _names_main(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(test))


def _edits(place: int, node: ast.AST) -> Iterator[_Edit]:
    match node:
        case ast.BinOp() | ast.AugAssign():
            for operator in _ARITHMETIC.get(type(node.op), ()):
                yield _Edit("arithmetic", place, _set("op", operator()))
        case ast.UnaryOp(op=ast.USub()):
            yield _Edit("arithmetic", place, _set("op", ast.UAdd()))
        case ast.Compare():
            for at, seen in enumerate(node.ops):
                for comparison in _COMPARISONS[type(seen)]:
                    yield _Edit("comparison", place, _set_item("ops", at, comparison()))
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield _Edit("boolean", place, _set("op", other))
        case ast.Constant():
            for value in _other_constants(node.value):
                yield _Edit("constant", place, _set("value", value))
        case _:
            yield from _flow_edits(place, node)


def _flow_edits(place: int, node: ast.AST) -> Iterator[_Edit]:
    match node:
        case ast.Return(value=ast.expr() as value):
            if not (isinstance(value, ast.Constant) and value.value is None):
                yield _Edit("return", place, _set("value", ast.Constant(None)))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            if not _has_opposite(test):
                yield _Edit("condition", place, _negate("test", None))
        case ast.comprehension():
            for at in range(len(node.ifs)):
                yield _Edit("condition", place, _negate("ifs", at))
    for block in _BLOCKS:
        statements = getattr(node, block, None)
        if isinstance(statements, list):
            yield from _block_edits(place, block, statements)


def _has_opposite(test: ast.expr) -> bool:
    """Return whether a comparison's operator has an opposite: its negation is then made already."""
    opposite = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], opposite)


def _block_edits(place: int, block: str, statements: list[ast.stmt]) -> Iterator[_Edit]:
    for at, statement in enumerate(statements):
        if isinstance(statement, ast.Break | ast.Continue):
            other = ast.Continue() if isinstance(statement, ast.Break) else ast.Break()
            yield _Edit("jump", place, _set_item(block, at, other))
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not docstring and not isinstance(statement, _KEPT):
            yield _Edit("deletion", place, _set_item(block, at, ast.Pass()))


def _other_constants(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int | float):
        return (value + 1, value - 1)
    if isinstance(value, str):
        return ("" if value else "x",)
    return ()


def _set(name: str, value: Any) -> Callable[[Any], None]:
    def apply(node: Any) -> None:
        setattr(node, name, value)

    return apply


def _set_item(name: str, at: int, value: Any) -> Callable[[Any], None]:
    def apply(node: Any) -> None:
        getattr(node, name)[at] = value

    return apply


def _negate(name: str, at: int | None) -> Callable[[Any], None]:
    def apply(node: Any) -> None:
        if at is None:
            setattr(node, name, ast.UnaryOp(ast.Not(), getattr(node, name)))
        else:
            tests = getattr(node, name)
            tests[at] = ast.UnaryOp(ast.Not(), tests[at])

    return apply
