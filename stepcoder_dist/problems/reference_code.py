"""Static analysis of a reference solution, and completing it so that it can run.

APPS+ holds solutions that do nothing by themselves: a zero-argument function around a program on
standard input, or a method without its class. Both are completed here, so that every reference is a
complete program for the sandbox, for the curriculum and for the warm start.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from stepcoder_dist.problems.assert_script import parse

_SCALAR_TYPES = {"int", "float", "str", "bool", "bytes", "complex", "dict", "Dict", "set", "Set"}
_LIST_TYPES = {"list", "List", "Sequence", "Iterable"}
_SCALAR_CALLS = {"int", "float", "str", "bool", "len", "sum", "round", "ord", "chr", "any", "all"}
_LIST_CALLS = {"list", "sorted"}
_SCALAR_METHODS = {"join", "format", "replace", "strip", "upper", "lower", "count", "index"}
_LIST_METHODS = {"split", "splitlines"}
_ARITHMETIC = ast.Sub | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow | ast.BitAnd | ast.BitXor


def complaint(source: str) -> str | None:
    """Return why Python refuses the source, as `line 3: invalid syntax`; None where it compiles."""
    try:
        tree = parse(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, "<reference>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or "nested too deeply"
    return None


def defines(source: str, name: str) -> bool:
    """Return whether a source that compiles binds the name to a function, or imports it."""
    found = parse(source).body
    functions = {n.name for n in found if isinstance(n, ast.FunctionDef)}
    imported = {
        alias.asname or alias.name
        for n in found
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    return name in functions | imported


def called_wrapper(source: str, fn_name: str | None) -> str:
    """Append the call to a program on standard input that is wrapped in a function of its own.

    This happens only where the module does nothing by itself. It then has imports, definitions,
    constants, and exactly one function without arguments that nothing refers to (or the one named
    `fn_name`).
    """
    tree = parse(source)
    if not all(map(_passive, tree.body)):
        return source
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    found = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not _parameters(node)
        and (node.name == fn_name or (fn_name is None and node.name not in used))
    ]
    if len(found) != 1:
        return source
    return f"{source.rstrip()}\n\n\n{found[0]}()\n"


def methods_in_class(source: str, fn_name: str) -> str:
    """Put bare functions whose first parameter is `self` into the `class Solution` they lack."""
    tree = parse(source)
    if any(isinstance(node, ast.ClassDef) and node.name == "Solution" for node in tree.body):
        return source
    methods = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and _parameters(node)[:1] == ["self"]
    ]
    if fn_name not in [node.name for node in methods]:
        return source
    lines = source.split("\n")
    body: list[str] = []
    taken: set[int] = set()
    for node in methods:
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        span = range(first, (node.end_lineno or node.lineno) + 1)
        body += ["    " + lines[n - 1] if lines[n - 1].strip() else "" for n in span]
        taken.update(span)
    rest = [line for number, line in enumerate(lines, start=1) if number not in taken]
    before = "\n".join(rest).rstrip()
    moved = (before + "\n\n\n" if before else "") + "class Solution:\n" + "\n".join(body) + "\n"
    if _strings(moved) != _strings(source):
        # moving a text over several lines would add blanks to it
        names = "\n".join(f"    {node.name} = {node.name}" for node in methods)
        return f"{source.rstrip()}\n\n\nclass Solution:\n{names}\n"
    return moved


def returns_list(source: str, fn_name: str) -> bool | None:
    """Return whether the function returns a list, by its annotation or its return statements.

    None where they do not show it, or show both.
    """
    try:
        tree = parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == fn_name:
            if node.returns is not None:
                return _annotated_list(node.returns)
            shown = {_is_list(value) for value in _returned(node)} - {None}
            return shown.pop() if len(shown) == 1 else None
    return None


def imports_for(source: str, script: str) -> str:
    """Return the module-level imports of `source` whose names `script` uses and lacks."""
    try:
        tree = parse(script)
        body = parse(source).body
    except SyntaxError:
        return ""
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    used -= set().union(*map(_imported, tree.body))
    return "".join(ast.unparse(node) + "\n" for node in body if used & _imported(node))


def _imported(node: ast.stmt) -> set[str]:
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return set()
    return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}


def _passive(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(
        node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef
    )


def _parameters(node: ast.FunctionDef) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    every += [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
    return [a.arg for a in every]


def _strings(source: str) -> list[str]:
    """Return every text in the source but its docstrings, sorted."""
    tree = parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return sorted(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    )


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield the values of the function's own return statements, not of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            yield node.value
        elif not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
        ):
            waiting.extend(ast.iter_child_nodes(node))


def _annotated_list(annotation: ast.expr) -> bool | None:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return None
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    name = getattr(annotation, "attr", getattr(annotation, "id", None))
    return _either(name, _LIST_TYPES, _SCALAR_TYPES)


def _is_list(value: ast.expr) -> bool | None:
    shown: bool | None = None
    match value:
        case ast.List() | ast.ListComp():
            shown = True
        case ast.Constant(value=None):
            pass
        case ast.Constant() | ast.Compare() | ast.JoinedStr() | ast.UnaryOp() | ast.Dict():
            shown = False
        case ast.BinOp(op=op) if isinstance(op, _ARITHMETIC):
            shown = False
        case ast.IfExp(body=one, orelse=other):
            ways = {_is_list(one), _is_list(other)} - {None}
            shown = ways.pop() if len(ways) == 1 else None
        case ast.Call(func=ast.Name(id=name)):
            shown = _either(name, _LIST_CALLS, _SCALAR_CALLS)
        case ast.Call(func=ast.Attribute(attr=name)):
            shown = _either(name, _LIST_METHODS, _SCALAR_METHODS)
    return shown


def _either(name: str | None, yes: set[str], no: set[str]) -> bool | None:
    return True if name in yes else False if name in no else None
