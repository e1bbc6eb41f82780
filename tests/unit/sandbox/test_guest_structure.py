"""Which lines share a fate."""

from __future__ import annotations

import ast
import textwrap

from hypothesis import given, settings, strategies as st

from sandbox.guest.line_tracer import lines_with_code
from sandbox.guest.source import structure
from sandbox.guest.source.statement_lines import physical_lines


def follows(source: str) -> list[tuple[int, ...]]:
    code_lines = lines_with_code(
        compile(source, "<p>", "exec", dont_inherit=True), len(physical_lines(source))
    )
    told = structure.describe(source, ast.parse(source), code_lines)
    return [tuple(told["sets"][index]) for index in told["follows"]]


def kept(source: str, executed: set[int]) -> list[int]:
    """Lines that are kept when exactly these were executed."""
    entries = follows(textwrap.dedent(source))
    return [line for line, entry in enumerate(entries, start=1) if executed & set(entry)]


def test_every_line_of_a_statement_shares_its_fate():
    source = "x = [\n  1,\n  # comment\n\n  2,\n]\ny = 1\n"
    assert kept(source, {1}) == [1, 2, 3, 4, 5, 6]
    assert kept(source, {7}) == [7]


def test_a_multi_line_string_and_a_continued_line_are_one_statement():
    assert kept('x = """a\n# no comment\n"""\ny = 1 + \\\n  2\n', {1}) == [1, 2, 3]
    assert kept("y = 1 + \\\n  f()\nz = 1\n", {2}) == [1, 2]


def test_a_header_is_a_unit_of_its_own_with_decorators_and_closers():
    source = """\
        @a
        # comment
        @b(
          1)
        def f(
            x,
            y=1,
        ):
            return x
        """
    assert kept(source, {5}) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert kept(source, {9}) == [9]


def test_else_and_finally_follow_the_block_that_they_open():
    source = """\
        if x:
            a = 1
        else:
            b = 1
        for i in x:
            c = 1
        else:
            d = 1
        try:
            e = 1
        except A:
            f = 1
        else:
            g = 1
        finally:
            h = 1
        """
    assert kept(source, {1, 2}) == [1, 2]
    assert kept(source, {4}) == [3, 4]
    assert kept(source, {8}) == [7, 8]
    assert kept(source, {14}) == [13, 14]
    assert kept(source, {16}) == [15, 16]


def test_elif_except_and_case_are_units_of_their_own():
    source = """\
        if a:
            x = 1
        elif b:
            y = 1
        match z:
            case 1:
                u = 1
            case (
                2
            ):
                v = 1
            case _:
                w = 1
        """
    assert kept(source, {1, 3}) == [1, 3]
    assert kept(source, {5, 6, 9}) == [5, 6, 8, 9, 10]
    assert kept(source, {12, 13})[-2:] == [12, 13]


def test_lines_without_code_by_nature_follow_their_block():
    source = """\
        def f():
            '''Text
            of two lines.'''
            global g
            x: int
            g = 1
        def h():
            '''Text.'''
            return 1
        """
    assert kept(source, {1, 6, 7}) == [1, 2, 3, 4, 5, 6, 7]


def test_unreachable_code_is_never_kept():
    source = """\
        def f():
            return 1
            x = 2
            '''text'''
        if 0:
            y = 1
        """
    every = set(range(1, 7))
    assert kept(source, every) == [1, 2, 5]


def test_comments_follow_the_block_of_their_indentation_and_blank_lines_their_place():
    source = """\
        def f():
            # in f
            x = 1

            y = 1
            # in f too

        # outside

        z = 1
        """
    assert kept(source, {1, 10}) == [1, 7, 8, 9, 10]
    assert kept(source, {3}) == [2, 3, 4, 6]


def test_several_statements_on_a_line_share_it():
    assert kept("if x: y = 1\nz = 1; w = [\n  2]\n", {2}) == [2, 3]


def test_lines_end_with_carriage_returns_too_and_with_nothing_else():
    assert physical_lines("a\r\nb\rc\nd\x0c\x1c\u2028e") == ["a", "b", "c", "d\x0c\x1c\u2028e"]
    assert kept("x = 1\r\nif x:\r\n    y = 2\r\n\r\nz = 3", {1, 5}) == [1, 4, 5]
    assert physical_lines("") == []


def test_a_chain_of_a_thousand_elifs_is_described_quickly():
    source = "if x == 0:\n    pass\n" + "".join(
        f"elif x == {i}:\n    y = {i}\n" for i in range(1, 500)
    )
    entries = follows(source)
    assert len(entries) == 1000
    assert sum(map(len, set(entries))) < 3000


simple = st.sampled_from(
    [
        "x = 1",
        "pass",
        "x = (\n1,\n)",
        "'text'",
        "global g",
        "x: int",
        "f(\n  a\n)",
        "# c",
        "",
    ]
)


@st.composite
def blocks(draw, depth=3):
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        if depth and draw(st.booleans()):
            header = draw(
                st.sampled_from(
                    [
                        "if x:",
                        "while x:",
                        "for i in x:",
                        "with x:",
                        "try:",
                        "def g2():",
                        "class C:",
                        "while True:",
                        "if 0:",
                    ]
                )
            )
            body = draw(blocks(depth=depth - 1))
            lines += [header, textwrap.indent(body, "  ")]
            tail = draw(st.sampled_from(["", "else:", "finally:"]))
            if header == "try:":
                lines += ["except E:", textwrap.indent(draw(blocks(depth=0)), "  ")]
            if tail == "else:" and header in {"if x:", "while x:", "for i in x:", "try:"}:
                lines += [tail, textwrap.indent(draw(blocks(depth=depth - 1)), "\t")]
            if tail == "finally:" and header == "try:":
                lines += [tail, textwrap.indent(draw(blocks(depth=0)), "  ")]
        else:
            lines += [draw(simple), "x = 2"]
    return "\n".join(lines)


@settings(max_examples=300, deadline=None)
@given(blocks())
def test_any_program_is_described_and_code_lines_follow_at_least_themselves(body):
    source = "def f(a):\n" + textwrap.indent(body, "    ") + "\n"
    try:
        code = compile(source, "<p>", "exec", dont_inherit=True)
    except SyntaxError:
        return
    count = len(physical_lines(source))
    code_lines = lines_with_code(code, count)
    structure._Reader(ast.parse(source), physical_lines(source), code_lines).read()  # no fallback
    told = structure.describe(source, ast.parse(source), code_lines)
    assert len(told["follows"]) == count
    for line in code_lines:
        assert line in told["sets"][told["follows"][line - 1]]
    for line in told["comments"]:
        assert not physical_lines(source)[line - 1].split("#")[0].strip()
