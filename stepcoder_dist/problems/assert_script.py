"""Turning assert scripts into call tests, without running them.

    def check(candidate):                        fn_name "has_close_elements"
        assert candidate([1.0, 2.0], 0.5) ...  → inputs  [[[1.0, 2.0], 0.5], ...]
                                                 outputs [True, ...]

A call test keeps its expected value outside of the sandbox; an assert script cannot. So a script
is turned if all its asserts have a form listed in `_expectation`. The other scripts stay as they
are.
"""

from __future__ import annotations

import ast
import builtins
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.errors import NotPlain

_ABSOLUTE_TOLERANCE = (1e-7, 1e-5)
"""`abs(call - value) < t` is turned for t between these: the sandbox compares floats at 1e-6."""
_MAX_ITEMS = 1_000_000
"""Longest text or list that evaluating a literal expression may build."""
_MAX_POWER_BITS = 20_000

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_CALLS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTests:
    """The fields of `TestSuite` for a call-based problem."""

    fn_name: str
    inputs: tuple[list[Any], ...]
    outputs: tuple[Any, ...]
    any_sequence: bool = False
    """Whether an assert compares `tuple(call)` or `list(call)`, so that any sequence is right."""


def call_tests(
    script: str, entry_point: str | None = None, parameters: Sequence[str] = ()
) -> CallTests | None:
    """Turn an assert script into call tests; None where one of its asserts has no such form.

    The script is a `check(candidate)` function (HumanEval) or bare asserts that call the function
    under test by name (MBPP). `entry_point` is that name; without it the first call names it.
    Arguments by name are put in the order of `parameters`.
    """
    try:
        body, name = _asserts(parse(script), entry_point)
        inputs: list[list[Any]] = []
        outputs: list[Any] = []
        any_sequence = False
        for test in body:
            call, expected, made_sequence = _expectation(test)
            called = call.func.id if isinstance(call.func, ast.Name) else None
            name = name or called
            if called is None or called != name:
                return None
            inputs.append([literal(argument) for argument in _in_order(call, parameters)])
            outputs.append(expected)
            any_sequence = any_sequence or made_sequence
    except (SyntaxError, NotPlain):
        return None
    fn_name = entry_point or name
    if not inputs or fn_name is None:
        return None
    return CallTests(
        fn_name=fn_name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        any_sequence=any_sequence,
    )


def _in_order(call: ast.Call, parameters: Sequence[str]) -> list[ast.expr]:
    """Return the arguments in the order of the parameters. Raises `NotPlain` where they have none.

    One that is left out may only follow the last that is given.
    """
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    names = parameters[len(call.args) :][: len(named)]
    if named.keys() != set(names):
        raise NotPlain
    return [*call.args, *(named[name] for name in names)]


def parse(source: str) -> ast.Module:
    """Parse a source; raise SyntaxError for any fault of it, and print no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:
            # null bytes; a nesting deeper than the parser's stack
            raise SyntaxError(str(error) or "nested too deeply") from None


def _asserts(tree: ast.Module, entry_point: str | None) -> tuple[list[ast.expr], str | None]:
    """Return the asserted expressions and the name under which they call the function."""
    check = next(
        (s for s in tree.body if isinstance(s, ast.FunctionDef) and s.name == "check"), None
    )
    if check is None:
        return list(_asserted(tree.body)), entry_point
    if len(check.args.args) != 1:
        raise NotPlain
    return list(_asserted(check.body)), check.args.args[0].arg


def _asserted(body: list[ast.stmt]) -> Iterator[ast.expr]:
    for statement in body:
        if isinstance(statement, ast.Assert):
            if not (isinstance(statement.test, ast.Constant) and statement.test.value):
                yield statement.test
        elif not _inert(statement):
            raise NotPlain


def _inert(statement: ast.stmt) -> bool:
    """Return whether a statement (import, name, `pass`, …) changes no assert of plain data."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant | ast.Name)
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass)


def _expectation(test: ast.expr) -> tuple[ast.Call, Any, bool]:
    """Return the call, the value that it is asserted to return, and whether any sequence of its
    items is right.

    `call == value`, `value == call`, `call is None`, `tuple(call) == value`,
    `abs(call - value) < 1e-6`. `call` and `call is True` have no such form: truth and identity are
    no equality.
    """
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return _equal(left, right)
        case ast.Compare(
            left=ast.Call() as call,
            ops=[ast.Is()],
            comparators=[ast.Constant(value=None)],
        ):
            return _call(call), None, False
        case ast.Compare(
            left=ast.Call(
                func=ast.Name(id="abs"),
                args=[ast.BinOp(left=ast.Call() as call, op=ast.Sub(), right=value)],
            ),
            ops=[ast.Lt() | ast.LtE()],
            comparators=[tolerance],
        ):
            low, high = _ABSOLUTE_TOLERANCE
            if not low <= _number(tolerance) <= high:
                raise NotPlain
            return _call(call), float(_number(value)), False
    raise NotPlain


def _equal(left: ast.expr, right: ast.expr) -> tuple[ast.Call, Any, bool]:
    for call, value in ((left, right), (right, left)):
        match call:
            case ast.Call(func=ast.Name(id="tuple" | "list"), args=[ast.Call() as inner]):
                # both sides are sequences of one kind: a list represents either
                return _call(inner), list(literal(value)), True
            case ast.Call(func=ast.Name(id=name)) if name not in _CALLS:
                return call, literal(value), False
    raise NotPlain


def _call(node: ast.Call) -> ast.Call:
    if isinstance(node.func, ast.Name) and node.func.id not in _CALLS:
        return node
    raise NotPlain


def _number(node: ast.expr) -> float:
    value = literal(node)
    if isinstance(value, int | float):
        return value
    raise NotPlain


def literal(node: ast.expr) -> Any:
    """Evaluate plain data: literals, arithmetic on them, and calls of the plain types.

    Raises `NotPlain` for anything else, and for what would take long or much memory.
    """
    try:
        value = _evaluate(node)
    except (ArithmeticError, TypeError, ValueError, RecursionError, MemoryError):
        raise NotPlain from None
    if isinstance(value, str | bytes | list | tuple) and len(value) > _MAX_ITEMS:
        raise NotPlain
    return value


def evaluate(text: str) -> Any:
    """Evaluate plain data that is written as one expression. Raises `NotPlain`, `SyntaxError`."""
    match parse(text).body:
        case [ast.Expr(value=node)]:
            return literal(node)
    raise NotPlain


def _evaluate(node: ast.expr) -> Any:
    value: Any
    match node:
        case ast.Constant(value=value) if value is not Ellipsis:
            pass
        case ast.List(elts=items):
            value = [_evaluate(item) for item in items]
        case ast.Tuple(elts=items):
            value = tuple(_evaluate(item) for item in items)
        case ast.Set(elts=items):
            value = {_evaluate(item) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            value = {_evaluate(k): _evaluate(v) for k, v in pairs if k is not None}
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            value = _UNARY[type(op)](_evaluate(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            value = _binary(op, _evaluate(left), _evaluate(right))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _CALLS:
            value = _CALLS[name](*(_evaluate(argument) for argument in arguments))
        case _:
            raise NotPlain
    return value


def _binary(op: ast.operator, left: Any, right: Any) -> Any:
    numbers = isinstance(left, int | float | complex) and isinstance(right, int | float | complex)
    if isinstance(op, ast.Pow):
        small = isinstance(right, int | float) and isinstance(left, int | float)
        if not small or abs(right) * math.log2(abs(left) + 2) > _MAX_POWER_BITS:
            raise NotPlain
    elif not numbers:
        sizes = [
            len(side) if hasattr(side, "__len__") else abs(int(side)) for side in (left, right)
        ]
        size = math.prod(sizes) if isinstance(op, ast.Mult) else sum(sizes)
        if size > _MAX_ITEMS or isinstance(op, ast.Mod):
            raise NotPlain
    return _BINARY[type(op)](left, right)


def called_name(script: str) -> str | None:
    """Return the function that an assert script tests: the first that its asserts call.

    None where they call only parameters of the script's own functions: `check(candidate)` does not
    name the function.
    """
    try:
        tree = parse(script)
    except SyntaxError:
        return None
    parameters = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assert):
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    name = node.func.id
                    if name not in parameters and not hasattr(builtins, name):
                        return name
    return None
