"""LeetCode's linked lists and trees as plain data, for tests whose values are made of them.

    assert is_same_list(candidate(head = list_node([1, 2])), list_node([2, 1]))
    →  stepcoder_call([1, 2]) == [2, 1]

An object cannot be sent to a program, so the program makes it: a function in the row's setup code
makes the arguments and takes the answer apart. What is expected stays outside of the sandbox.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.errors import NotPlain
from stepcoder_dist.problems.assert_script import literal, parse

FUNCTION = "stepcoder_call"
_SAME = {"is_same_list": "list_node", "is_same_tree": "tree_node"}
_MADE = ("list_node", "tree_node")
_SETUP = """
def stepcoder_list(node):
    values = []
    while node is not None and len(values) < 10**6:
        values.append(node.val)
        node = node.next
    return values


def stepcoder_tree(root):
    values, level = [], [root]
    while any(node is not None for node in level) and len(values) < 10**6:
        values += [None if node is None else node.val for node in level]
        level = [c for node in level if node is not None for c in (node.left, node.right)]
    while values and values[-1] is None:
        values.pop()
    return values


def stepcoder_call(*arguments):
    made = [value if make is None else make(value) for make, value in zip({makers}, arguments)]
    answer = Solution().{name}(*made)
    return {taken}
"""
_TAKEN = {"list_node": "stepcoder_list(answer)", "tree_node": "stepcoder_tree(answer)"}


@dataclass(frozen=True, slots=True)
class Calls:
    """The tests of a row as calls of `FUNCTION`."""

    inputs: list[list[Any]]
    outputs: list[Any]
    setup_code: str
    """What follows the row's own setup code, which defines the lists and trees."""


def calls(script: str, name: str, parameters: Sequence[str]) -> Calls | None:
    """Return the tests of `check(candidate)`; None where they have no nodes, or another form."""
    try:
        (check,) = (s for s in parse(script).body if isinstance(s, ast.FunctionDef))
        tests = [_test(statement, parameters) for statement in check.body]
    except (SyntaxError, NotPlain, ValueError):
        return None
    makers = {tuple(made for made, _ in arguments) for arguments, _, _ in tests}
    answers = {answer for _, answer, _ in tests}
    if len(makers) != 1 or len(answers) != 1:
        return None
    (made,), (answer,) = makers, answers
    if not any((*made, answer)):
        return None
    names = "".join(f"{maker}, " for maker in made)
    setup = _SETUP.format(makers=f"({names})", name=name, taken=_TAKEN.get(answer or "", "answer"))
    return Calls(
        inputs=[[value for _, value in arguments] for arguments, _, _ in tests],
        outputs=[expected for _, _, expected in tests],
        setup_code=setup,
    )


_Test = tuple[list[tuple[str | None, Any]], str | None, Any]
"""The arguments, each with what makes it; what makes the answer; the expected value."""


def _test(statement: ast.stmt, parameters: Sequence[str]) -> _Test:
    match statement:
        case ast.Assert(
            test=ast.Compare(left=ast.Call() as call, ops=[ast.Eq()], comparators=[right])
        ):
            return _arguments(call, parameters), None, literal(right)
        case ast.Assert(
            test=ast.Call(func=ast.Name(id=same), args=[ast.Call() as call, right])
        ) if same in _SAME:
            made, value = _made(right)
            if made == _SAME[same] or value is None:
                return _arguments(call, parameters), _SAME[same], _trimmed(value or [])
    raise NotPlain


def _arguments(call: ast.Call, parameters: Sequence[str]) -> list[tuple[str | None, Any]]:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    names = parameters[: len(named)]
    if call.args or named.keys() != set(names) or getattr(call.func, "id", "") != "candidate":
        raise NotPlain
    return [_made(named[name]) for name in names]


def _made(node: ast.expr) -> tuple[str | None, Any]:
    match node:
        case ast.Call(func=ast.Name(id=maker), args=[values], keywords=[]) if maker in _MADE:
            return maker, literal(values)
    return None, literal(node)


def _trimmed(values: list[Any]) -> list[Any]:
    """Return a tree's values without the absent children at its end, which say nothing."""
    end = len(values)
    while end and values[end - 1] is None:
        end -= 1
    return values[:end]
