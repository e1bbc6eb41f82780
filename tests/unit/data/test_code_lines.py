"""Programs as lines of tokens."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import pytest

from stepcoder_dist import problems
from stepcoder_dist.data.overlap.code_lines import (
    every_line,
    logical_lines,
    ngrams,
    telling_lines,
    trivial,
)

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}")


def lines(source: str) -> list[str]:
    return [" ".join(line) for line in logical_lines(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x=1\n", ["x = 1"]),
        ("x  =\t1   # one\r\n\r\n   # two\ry = '#'", ["x = 1", "y = '#'"]),
        ("a = 1; b = 2\n", ["a = 1", "b = 2"]),
        ("f(a,\n  b,  # why\n\n  c)\nd", ["f ( a , b , c )", "d"]),
        ("x = 1 + \\\n    2\n", ["x = 1 + 2"]),
        ('def f():\n    """Say #1\n    (twice)."""\n    return 1\n', ["def f ( ) :", "return 1"]),
        ("x = '''a\nb''' 'c'\n", ["x = '''a\nb''' 'c'"]),
        ("'only' 'text'\n", []),
        ("a**=b//c->d:=e!=f<<=1.5e-3j\n", ["a **= b // c -> d := e != f <<= 1.5e-3j"]),
        ("f'{x}' rb'\\'' 0xFF_0 .5 é\n", ["f'{x}' rb'\\'' 0xFF_0 .5 é"]),
        ("", []),
    ],
)
def test_white_space_comments_docstrings_and_line_breaks_are_gone(source: str, expected: list[str]):
    assert lines(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("print 'python 2'\n", ["print 'python 2'"]),
        ("x = 'it ends\ny = 1\n", ["x = ' it ends", "y = 1"]),
        ("a)\nb = 1\nc", ["a )", "b = 1", "c"]),
        ("s = '''cut", ["s = '''cut"]),
        ("f(a,\n  b", ["f ( a , b"]),
    ],
)
def test_broken_text_has_lines_too(source: str, expected: list[str]):
    assert lines(source) == expected


def by_tokenize(source: str) -> list[tuple[str, ...]]:
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}
    found: list[tuple[str, ...]] = []
    line: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source.rstrip() + "\n").readline):
        if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER) or token.string == ";":
            if any(part.type != tokenize.STRING for part in line):
                found.append(tuple(part.string for part in line))
            line = []
        elif token.type not in silent:
            line.append(token)
    return found


def is_split_by_later_tokenizers(source: str) -> bool:
    return hasattr(tokenize, "FSTRING_START") and ("f'" in source or 'f"' in source)


@needs_data
def test_real_solutions_have_the_lines_that_pythons_own_tokenizer_finds():
    compared = 0
    for name in ("mbpp.jsonl.gz", "HumanEval.jsonl.gz", "apps"):
        for problem in problems.stream(DATA / name):
            if not is_split_by_later_tokenizers(problem.reference):
                assert list(logical_lines(problem.reference)) == by_tokenize(problem.reference)
                compared += 1
    assert compared > 1100


@pytest.mark.parametrize(
    ("source", "is_trivial"),
    [
        ("return x", True),
        ("else:", True),
        ("if a > b:", True),
        ("def main():", True),
        ("from collections import Counter, OrderedDict, defaultdict, deque", True),
        ("n = int(input())", False),
        ("return a[i] + b", False),
    ],
)
def test_lines_that_stand_in_any_program_are_trivial(source: str, *, is_trivial: bool):
    (line,) = logical_lines(source)
    assert trivial(line) is is_trivial


def test_units_of_a_program():
    program = list(logical_lines("import a\nfor i in range(n):\n    i += 1\n    i += 1\n"))
    assert every_line(program) == {"import a", "for i in range ( n ) :", "i += 1"}
    assert telling_lines(program) == {"for i in range ( n ) :"}
    assert ngrams(program, 12) == {
        "import a for i in range ( n ) : i +=",
        "a for i in range ( n ) : i += 1",
        "for i in range ( n ) : i += 1 i",
        "i in range ( n ) : i += 1 i +=",
        "in range ( n ) : i += 1 i += 1",
    }
    assert ngrams(program, 17) == set()
