"""All exceptions are in one file, and the tree at its top is the tree."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepcoder_dist import errors

ROOT = Path(__file__).parents[2]
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


def exceptions_of(file: Path) -> Iterator[str]:
    """Names of the exception classes that a file defines for others."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = (ast.unparse(base).rpartition(".")[2] for base in node.bases)
            found = (CLASSES.get(base) or getattr(builtins, base, None) for base in bases)
            if any(isinstance(base, type) and issubclass(base, BaseException) for base in found):
                yield node.name


def test_an_exception_that_leaves_its_module_is_defined_in_errors() -> None:
    elsewhere = [
        f"{file.relative_to(ROOT)}: {name}"
        for role in ("stepcoder_dist", "actors", "learner", "sandbox")
        for file in (ROOT / role).rglob("*.py")
        if file != Path(errors.__file__) and "guest" not in file.parts
        for name in exceptions_of(file)
    ]
    assert elsewhere == []


def drawn() -> Iterator[tuple[str, str]]:
    """Each name in the drawing with the name that it hangs from; empty: from none of ours."""
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if node := re.match(r"    ((?:│   |    )*)([├└]── )?([A-Z]\w+)  ", line):
            bars, branch, name = node.groups()
            depth = len(bars) // 4 + 1 if branch else 0
            above[depth:] = [name]
            yield name, above[depth - 1] if depth else ""


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    ours = set(CLASSES)
    parents = {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}
    assert dict(drawn()) == {
        name: parent if parent in ours else "" for name, parent in parents.items()
    }


@pytest.mark.parametrize(("name", "code"), [("UserError", 2), ("InUse", 2), ("RunError", 1)])
def test_a_command_ends_with_2_for_the_users_mistake_and_1_for_what_broke(
    name: str, code: int
) -> None:
    assert CLASSES[name].exit_code == code


def test_of_a_process_that_ray_killed_for_memory_the_line_that_says_so_is_told() -> None:
    error = RuntimeError(
        "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: "
        "10.0.0.2, ID: b074) was 22.4GB used / 23.5GB limit (0.953)\n"
        "Top 10 memory users: PID\tMEM(GB)\tCOMMAND\n"
        "Refer to the documentation on how to address the out of memory issue: https://docs.ray.io"
    )
    assert errors.last_line(error).endswith("was 22.4GB used / 23.5GB limit (0.953)")
    assert errors.last_line(RuntimeError("a traceback\n  of many lines\nValueError: 3")) == (
        "ValueError: 3"
    )
