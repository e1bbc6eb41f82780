"""Run by a guest's Python: the structure of programs, and the lines that they execute.

Standard library only, as the guest is. Executed lines are found with `sys.settrace`, which shares
nothing with the product's tracer.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from types import CodeType, FrameType, ModuleType
from typing import Any


def call(*_args: object) -> int:
    return 1


def boom() -> int:
    raise ValueError


def names() -> dict[str, Any]:
    """What the programs of the tests find in their globals."""
    return {
        "__name__": "__main__",
        "call": call,
        "boom": boom,
        "ctx": contextlib.nullcontext,
        "yes": True,
        "no": False,
    }


def lines_with_code(code: CodeType) -> set[int]:
    found: set[int] = set()
    waiting = [code]
    while waiting:
        code = waiting.pop()
        found.update(line for _, _, line in code.co_lines() if line)
        waiting.extend(c for c in code.co_consts if isinstance(c, CodeType))
    return found


def executed(code: CodeType) -> set[int]:
    hit: set[int] = set()

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename != "<program>":
            return None
        if event == "line":
            hit.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        exec(code, names())
    except BaseException:  # noqa: BLE001  # whatever a program raises ends it
        pass
    finally:
        sys.settrace(before)
    return hit


def look(source: str, structure: ModuleType) -> dict[str, Any] | None:
    """Byte-code lines, `structure.describe`'s answer and executed lines; None: no program."""
    try:
        tree = compile(source, "<program>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        code = compile(source, "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    lines = len(structure.physical_lines(source))
    found = frozenset(line for line in lines_with_code(code) if line <= lines)
    return {
        "code": sorted(found),
        **structure.describe(source, tree, found),
        "hit": sorted(executed(code)),
    }


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from sandbox.guest.source import structure

    answers, sys.stdout = sys.stdout, io.StringIO()  # the programs print as well
    seen = [look(source, structure) for source in json.load(sys.stdin)]
    answers.write(json.dumps(seen))


if __name__ == "__main__":
    main()
