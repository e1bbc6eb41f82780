"""HumanEval+ and MBPP+ (EvalPlus, Liu et al. 2023): many inputs for each problem.

The released files have inputs only: what is expected is what the canonical solution returns.
Nothing of a row is executed here. The row's checker has the solution's text and runs it in the
sandbox, after the program and out of its reach. The files on the hub have the expected values too,
in a script.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import NotPlain, RowError
from stepcoder_dist.problems.assert_script import literal, parse
from stepcoder_dist.problems.formats.draft import Draft, Format, identifier, text
from stepcoder_dist.problems.row_parts import evalplus_oracle
from stepcoder_dist.problems.row_parts.code_prompt import before_function


def _read(row: dict[str, Any], _where: str) -> Draft:
    prompt, name = text(row, "prompt"), text(row, "entry_point")
    source, _, number = identifier(row["task_id"]).rpartition("/")
    mbpp = not source.lower().startswith("humaneval")  # the first files of MBPP+ have numbers
    inputs = [*_inputs(row, "base_input"), *_inputs(row, "plus_input")]
    if mbpp and number.isdigit():
        inputs = [_shaped(int(number), arguments) for arguments in inputs]
    reference = prompt + text(row, "canonical_solution")
    found = Draft(
        problem_id=f"{'mbppplus' if mbpp else 'humanevalplus'}/{number}",
        statement=prompt,
        solutions=[reference],
        inputs=inputs,
        outputs=[None] * len(inputs),
        fn_name=name,
        checker=_checker(name, _tolerance(row.get("atol")), mbpp=mbpp, reference=reference),
        setup_code=before_function(prompt, name),
    )
    _ask_whether_there_is_an_answer(found, name)
    return found


def holds_cases(script: str) -> bool:
    """Return whether a test script has EvalPlus's form on the hub: inputs and results as lists."""
    return "inputs = [" in script and "results = [" in script


def take_tests(found: Draft, script: str) -> None:
    """Replace a draft's tests by those of EvalPlus's script. Raises `RowError`."""
    values: dict[str, Any] = {}
    tolerance, name = 0.0, found.entry_point
    try:
        for node in ast.walk(parse(script)):
            match node:
                case ast.Assign(targets=[ast.Name(id="inputs" | "results" as target)]):
                    values[target] = literal(_WithNumbers().visit(node.value))
                case ast.Call(
                    func=ast.Name(id="assertion"),
                    args=[ast.Call(func=ast.Name(id=called)), _, *last],
                ):
                    name = name or called
                    tolerance = _tolerance(literal(last[0])) if last else 0.0
    except (SyntaxError, NotPlain):
        values = {}
    if len(values) < len(("inputs", "results")) or not name:
        raise RowError("its test has no inputs and results that are plain data")
    mbpp = found.problem_id.startswith("mbpp")
    found.inputs = [list(arguments) for arguments in values["inputs"]]
    found.outputs, found.fn_name = values["results"], name
    found.test_code, found.entry_point = "", None
    found.checker = _checker(name, tolerance, mbpp=mbpp)
    _ask_whether_there_is_an_answer(found, name)


def _ask_whether_there_is_an_answer(found: Draft, name: str) -> None:
    """Have the program say only whether it found something, where what it finds is no plain data.

    These functions return a match of a regular expression, and nothing else of it counts.
    """
    if name in evalplus_oracle.ANYTHING_BUT_NONE and found.problem_id.startswith("mbpp"):
        found.setup_code += (
            f"def stepcoder_found(*arguments):\n    found = {name}(*arguments)\n"
            "    return found if isinstance(found, bool) else found is not None\n"
        )
        found.fn_name = "stepcoder_found"


class _WithNumbers(ast.NodeTransformer):
    """Replaces the names `inf` and `nan`, which a script imports, by their values."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _inputs(row: dict[str, Any], key: str) -> list[list[Any]]:
    found = row[key] or []  # the hub's first files have an empty object for none
    if not isinstance(found, list) or not all(isinstance(each, list) for each in found):
        raise RowError(f"{key} is no list of lists of arguments")
    return found


def _tolerance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise RowError(f"atol is {value!r}, not a number")
    return float(value or 0)


def _checker(name: str, tolerance: float, *, mbpp: bool, reference: str = "") -> str:
    return (
        f"{_oracle()}\n\nNAME = {name!r}\nTOLERANCE = {tolerance!r}\nMBPP = {mbpp!r}\n"
        f"REFERENCE = {reference!r}\n"
    )


@cache
def _oracle() -> str:
    return Path(evalplus_oracle.__file__).read_text(encoding="utf-8").rstrip()


# ── arguments that JSON made lists of ────────────────────────────────────────────────────────


def _tuples(depth: int) -> Callable[[Any], Any]:
    """Return what makes tuples of the lists at this depth, 0 being the argument itself."""

    def made(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return tuple(value) if depth == 0 else [_tuples(depth - 1)(item) for item in value]

    return made


def _all_tuples(value: Any) -> Any:
    return tuple(map(_all_tuples, value)) if isinstance(value, list) else value


def _tuple_of_tuples(value: Any) -> Any:
    return tuple(map(_tuples(0), value)) if isinstance(value, list) else value


def _sets(value: Any) -> Any:
    return [(set(item) or {}) if isinstance(item, list) else item for item in value]


def _tuple_values(value: Any) -> Any:
    return {key: tuple(item) for key, item in value.items()}


def _as_it_is(value: Any) -> Any:
    return value


_Shape = Callable[[Any], Any]
_EACH: dict[_Shape, tuple[int, ...]] = {
    _tuples(0): (
        *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424),
        *(429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    ),
    _tuples(1): (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    _tuple_of_tuples: (259, 278, 401, 445),
    _all_tuples: (580, 615, 791),
    _sets: (115,),
    complex: (252,),
}
"""Shapes of every argument, by the numbers of MBPP: EvalPlus keeps this table in its loader."""
_BY_PLACE: dict[tuple[_Shape, ...], tuple[int, ...]] = {
    (_tuples(1),): (75, 413, 444, 753),
    (_as_it_is, _tuples(0)): (106, 750),
    (float, complex): (124,),
    (_tuples(0),): (250, 307, 405, 446, 617, 720, 763, 808),
    (_tuple_values,): (722,),
}
"""Shapes of the first arguments; those that follow are as they are."""


def _shaped(number: int, arguments: list[Any]) -> list[Any]:
    """Give the arguments of an MBPP+ problem the types that JSON took from them."""
    shapes = next((s for s, numbers in _BY_PLACE.items() if number in numbers), ())
    each = next((s for s, numbers in _EACH.items() if number in numbers), _as_it_is)
    try:
        return [
            (shapes[place] if place < len(shapes) else each)(value)
            for place, value in enumerate(arguments)
        ]
    except (TypeError, ValueError, AttributeError):
        raise RowError("an input has not the form that EvalPlus's loader expects") from None


FORMAT = Format(
    name="EvalPlus",
    about="HumanEvalPlus.jsonl.gz and MbppPlus.jsonl.gz as they are released",
    keys=("task_id", "entry_point", "canonical_solution", "base_input", "plus_input"),
    read=_read,
)
