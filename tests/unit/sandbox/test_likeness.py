"""Likeness of a program to a reference: subtrees and data flow counted by hand."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import replace

import pytest

from sandbox.guest.source.likeness import likeness
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import TestSuite, Verdict

REFERENCE = "n = int(input())\nm = n + 1\nprint(m)\n"


def of(source: str, reference: str = REFERENCE) -> list[float]:
    return likeness(ast.parse(source), reference)


def test_other_names_and_numbers_are_the_same_program() -> None:
    assert of(REFERENCE) == [1, 1]
    assert of("a = int(input())\nbb = a + 27\nprint(bb)\n") == [1, 1]


def test_what_is_missing_of_the_tree_and_of_the_flow_is_counted() -> None:
    # subtrees of the reference: module, 2 assignments, int(input()), input(), n + 1, statement and
    # call of print; the module and n + 1 with its assignment are not the program's
    source = "n = int(input())\nm = n * 2\nprint(m)\n"
    assert of(source) == [pytest.approx(5 / 8), 1]
    # `m` comes from nothing; `n` comes from `int` and `input` in both
    assert of("n = int(input())\nm = 5\nprint(m)\n")[1] == 0.5
    assert of("pass\n") == [0, 0]


def test_loops_augmented_assignments_and_comprehensions_carry_flow() -> None:
    reference = "s = 0\nfor i in x:\n    s += i\nt = [j for j in s]\n"
    assert of(reference, reference) == [1, 1]
    assert of(reference.replace("s += i", "s = i"), reference)[1] == 0.8


def test_a_reference_without_assignments_has_no_flow_to_share() -> None:
    assert of("print(1)\n", "print(2)\n") == [1, 0]


def test_a_deep_program_is_compared_in_time() -> None:
    deep = "x = " + "+".join(["1"] * 900) + "\n"
    assert of(deep, deep) == [1, 1]


def test_the_verdict_has_it_where_the_suite_has_a_reference() -> None:
    suite = TestSuite(inputs=("1\n",), outputs=("2\n",))
    asked = replace(suite, reference=REFERENCE)
    with_bad = replace(suite, reference="if x\n")
    cases = [
        (REFERENCE, suite),
        ("x = 2\nprint(x)\n", asked),
        (REFERENCE, with_bad),
        ("print(\n", asked),
    ]

    async def scenario() -> list[Verdict]:
        async with ProcessPool(SandboxConfig(backend="process", containers=1)) as pool:
            return [await pool.judge(*case, problem_id="p") for case in cases]

    plain, alike, unknown, broken = asyncio.run(scenario())
    assert plain.likeness is None
    assert alike.likeness is not None
    assert alike.likeness[1] == 0
    assert 0 < alike.likeness[0] < 1
    assert (unknown.likeness, unknown.coverage_trusted) == (None, True)
    assert broken.likeness is None


def test_nonsense_is_the_sandboxs_fault() -> None:
    from sandbox.line_structure import read_likeness

    for found in ([1], [0.5, 2], ["a", 1], 3):
        with pytest.raises(SandboxFault):
            read_likeness({"likeness": found})
