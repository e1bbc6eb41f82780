"""KodCode (Xu et al. 2025, `KodCode/KodCode-V1`): pytest functions that import the solution."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import RowError
from stepcoder_dist.problems.assert_script import parse
from stepcoder_dist.problems.formats.draft import Draft, Format, own_id, records, text
from stepcoder_dist.problems.row_parts import pytest_subset

_MODULE = "solution"


def _read(row: dict[str, Any], where: str) -> Draft:
    script, imported = _script(text(row, "test"))
    named = [info.get("function_name") for info in records(row.get("test_info"), "test_info")]
    names = [name for name in (*named, *imported) if isinstance(name, str)]
    return Draft(
        problem_id=f"kodcode/{own_id(row, where, 'question_id')}",
        statement=text(row, "question"),
        solutions=[text(row, "solution")],
        level=row.get("gpt_difficulty"),
        test_code=script,
        entry_point=names[0] if names else None,
    )


def _script(source: str) -> tuple[str, list[str]]:
    """Return an assert script that does what pytest does, and the names that the tests import.

    Functions that hold asserts alone become these asserts, so that they can become call tests.
    """
    try:
        body = parse(source).body
    except SyntaxError as error:
        raise RowError(f"its test does not parse: {error}") from None
    imports = [node for node in body if _of_solution(node)]
    imported = [alias.name for node in imports for alias in node.names]  # type: ignore[attr-defined]
    rest = [node for node in body if not _of_solution(node) and not _of_pytest(node)]
    tests = [node for node in rest if isinstance(node, ast.FunctionDef) and _is_test(node.name)]
    flat = [node for test in tests for node in test.body]
    others = [node for node in rest if node not in tests]
    renamed = any(alias.asname for node in imports for alias in node.names)  # type: ignore[attr-defined]
    module = _MODULE in imported
    if not renamed and not module and all(map(_plain, (*flat, *others, *tests))):
        return _unparsed([*others, *flat]), imported
    before = _bindings(imports, body)
    calls = [f"stepcoder_run({name})" for name in _tests_of(rest)]
    if not calls:
        raise RowError("its test has no test function")
    return "\n".join([_subset(), *before, _unparsed(rest), *calls]) + "\n", imported


def _of_solution(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == _MODULE
    return isinstance(node, ast.Import) and [a.name for a in node.names] == [_MODULE]


def _of_pytest(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import) and [(a.name, a.asname) for a in node.names] == [
        ("pytest", None)
    ]


def _is_test(name: str) -> bool:
    return name.startswith("test")


def _plain(node: ast.stmt) -> bool:
    """Return whether a statement means the same outside of its function."""
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom():
            return not any(isinstance(n, ast.Name) and n.id == "pytest" for n in ast.walk(node))
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.FunctionDef(decorator_list=[]):
            return _is_test(node.name) and not node.args.args
    return False


def _bindings(imports: list[ast.stmt], body: list[ast.stmt]) -> list[str]:
    """Return what gives the program's names the names that the tests use."""
    lines = []
    for node in imports:
        if isinstance(node, ast.Import):
            name = node.names[0].asname or _MODULE
            used = {
                n.attr
                for n in ast.walk(ast.Module(body, []))
                if isinstance(n, ast.Attribute) and getattr(n.value, "id", None) == name
            }
            lines += [f"class {name}:", "    pass", *(f"{name}.{a} = {a}" for a in sorted(used))]
        elif isinstance(node, ast.ImportFrom):
            lines += [f"{a.asname} = {a.name}" for a in node.names if a.asname]
    return lines


def _tests_of(body: list[ast.stmt]) -> list[str]:
    """Return expressions of the tests in pytest's order: functions, and methods of test classes."""
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef) and _is_test(node.name):
            found.append(node.name)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found += [
                f"{node.name}().{method.name}"
                for method in node.body
                if isinstance(method, ast.FunctionDef) and _is_test(method.name)
            ]
    return found


def _unparsed(body: list[ast.stmt]) -> str:
    return ast.unparse(ast.Module(body, []))


@cache
def _subset() -> str:
    return Path(pytest_subset.__file__).read_text(encoding="utf-8")


FORMAT = Format(
    name="KodCode",
    about="KodCode/KodCode-V1, KodCode-Light-RL-10K, …",
    keys=("question", "solution", "test"),
    usual=("question_id", "test_info", "gpt_difficulty", "style", "subset"),
    read=_read,
)
