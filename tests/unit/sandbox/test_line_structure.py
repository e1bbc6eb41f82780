"""Which lines share a fate (DESIGN §4 FGO): a table of programs, each line with its mark.

Every program is run; `+` before a line: FGO keeps it, `-`: it masks it. The same on every Python.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from guest_lines import HERE, PYTHON_3_13, Seen, look

from stepcoder_dist.method.coverage_mask import kept_lines

PROGRAMS = {
    "straight line": """
+ x = 1
+ print
+ y = 2
""",
    "if taken, else not": """
+ x = 1
+ if x:
+     y = 1
- else:
-     y = 2
+ z = 3
""",
    "else taken": """
+ x = 0
+ if x:
-     y = 1
+ else:
+     y = 2
""",
    "else with a comment, a blank and a deeper comment": """
+ x = 1
+ if x:
+     y = 1
- else:  # why
-     # because
-
-     y = 2
""",
    "elif reached and taken": """
+ x = 1
+ if x == 2:
-     y = 1
+ elif x == 1:
+     y = 2
- elif x == 3:
-     y = 3
- else:
-     y = 4
""",
    "elif and else reached": """
+ x = 5
+ if x == 2:
-     y = 1
+ elif x == 1:
-     y = 2
+ else:
+     if x == 5:
+         y = 3
-     else:
-         y = 4
""",
    "elif header over lines": """
+ x = 1
+ if x:
+     pass
- elif (
-     x == 2
-     # note
-     or x == 3
- ):
-     y = 2
""",
    "if header over lines": """
+ x = 1
+ if (
+     x == 1
+     # note
+
+     and True
+ ):
+     y = 2
""",
    "nested branches that nobody entered": """
+ x = 0
+ if x:
-     for i in range(3):
-         if i:
-             y = 1
-         else:
-             y = 2
-     else:
-         y = 3
-     while x:
-         break
-     try:
-         y = 4
-     finally:
-         y = 5
+ z = 1
""",
    "for with else": """
+ for i in range(2):
+     x = i
+ else:
+     y = 1
""",
    "for left by break": """
+ for i in range(2):
+     break
- else:
-     y = 1
""",
    "for over nothing": """
+ for i in ():
-     x = i
+ y = 1
""",
    "continue alone in a branch": """
+ for i in range(3):
+     if i:
+         continue
+     x = i
""",
    "while with else": """
+ x = 2
+ while x:
+     x -= 1
+ else:
+     y = 1
""",
    "while true": """
+ x = 0
+ while True:
+     x += 1
+     if x > 2:
+         break
+ y = 1
""",
    "while true in a function that is not called": """
+ def f():
-     while True:
-         x = 1
+ y = 1
""",
    "while 0": """
+ while 0:
-     x = 1
+ y = 1
""",
    "if 0": """
+ if 0:
-     x = 1
+ y = 1
""",
    "if 0 with else": """
+ if 0:
-     x = 1
+ else:
+     x = 2
""",
    "if 1 with else": """
+ if 1:
+     x = 1
- else:
-     x = 2
""",
    "if 0 with a comment, a string, a pass and a declaration": """
+ def f():
+     if 0:
-         # dead
-         'dead'
-         pass
-         global g
-         x: int
+     return 1
+ f()
""",
    "after return": """
+ def f():
+     return 1
-     x = 2
-     for i in range(3):
-         x = 3
+ f()
""",
    "after raise": """
+ def f():
+     raise ValueError
-     x = 2
+ try:
+     f()
+ except ValueError:
+     pass
""",
    "after continue and break": """
+ for i in range(2):
+     if i:
+         break
-         x = 1
+     continue
-     y = 1
""",
    "after a statement that raises": """
+ x = 1
+ y = 1 / 0
- z = 2
- if z:
-     pass
- else:
-     pass
""",
    "an argument that raises": """
+ print(
+     1 / 0,
+     2,
+ )
- z = 2
""",
    "a function that is called": """
+ def f(a):
+     b = a
+     return b
+ f(1)
""",
    "a function that is never called": """
+ def f(a):
-     'doc'
-     b = a
-
-     # why
-     return b
+ x = 1
""",
    "a called function with docstring, global and annotation": """
+ def f(a):
+     '''doc
+
+     more
+     '''
+     global g
+     x: int
+     g = a
+ f(1)
""",
    "nothing but a docstring leaves no trace of a call": """
+ def f():
-     'doc'
+ def g():
-     'doc'
+ f()
""",
    "nothing but an ellipsis": """
+ class A:
+     def f(self): ...
+     def g(self):
-         ...
+     def h(self):
+         ...
+ A().h()
""",
    "nothing but pass": """
+ def f():
+     pass
+ def g():
-     pass
+ f()
""",
    "a string among statements": """
+ def f():
+     x = 1
+     'note'
+     'f' 'g'
+     return x
-     'never'
+ f()
""",
    "nonlocal": """
+ def f():
+     x = 1
+     def g():
-         nonlocal x
-         x = 2
+     def h():
+         nonlocal x
+         x = 3
+     h()
+ f()
""",
    "global in the module": """
+ global x
+ x = 1
""",
    "annotations in module and class": """
+ x: int
+ y: int = 1
+ class A:
+     z: int
+     w: 'int' = 1
""",
    "annotations in a function": """
+ def f():
+     x: int
+     y: int = 1
+ def g():
-     x: int
-     y: int = 1
+ f()
""",
    "header over lines": """
+ def f(
+     a,
+     b=2,
+ ):
-     return a
+ x = 1
""",
    "header with annotations over lines": """
+ def f(
+     a: int,
+     # note
+     b: str = 'x',
+ ) -> list[
+     int
+ ]:
+     return a
+ f(1)
""",
    "header of one line and body of one line": """
+ def f(): return 1
+ if 0: x = 1
+ for i in (): x = 2
+ class A: x = 1
""",
    "one-line else, finally, try": """
+ x = 1
+ if x: y = 1
- else: y = 2
+ try: y = 3
- except ValueError: y = 4
+ else: y = 5
+ finally: y = 6
""",
    "decorators": """
+ def d(f):
+     return f
+ @d
+ # why
+ @d
+ def f():
-     return 1
+ @d
+ class A:
+     x = 1
""",
    "decorator over lines": """
+ def d(a, b):
+     return lambda f: f
+ @d(
+     1,
+     2,
+ )
+ def f():
-     return 1
""",
    "decorators in a class that is not reached": """
+ if 0:
-     class A:
-         @staticmethod
-         def f(
-             a,
-         ):
-             return 1
+ x = 1
""",
    "class": """
+ class A(
+     object,
+ ):
+     'doc'
+
+     x = 1
+     # methods
+     def f(self):
-         return 1
+     def g(self):
+         return 2
+ A().g()
""",
    "class in a function that is not called": """
+ def f():
-     class A:
-         'doc'
-         x: int
-         y = 1
-     return A
""",
    "try that succeeds": """
+ try:
+     x = 1
- except ValueError:
-     x = 2
- except (
-     KeyError,
-     TypeError,
- ) as e:
-     x = 3
+ else:
+     x = 4
+ finally:
+     x = 5
""",
    "try that fails": """
+ try:
+     x = int('a')
-     x = 0
+ except KeyError:
-     x = 1
+ except (
+     ValueError,
+ ) as e:
+     x = 2
- except:
-     x = 3
- else:
-     x = 4
+ finally:
+     x = 5
""",
    "bare except": """
+ try:
+     raise ValueError
+ except:
+     x = 1
+ try:
+     y = 1
- except:
-     x = 2
""",
    "return in try, with finally": """
+ def f():
+     try:
+         return 1
-         x = 2
+     finally:
+         # cleanup
+         x = 3
+ f()
""",
    "try in a function that is not called": """
+ def f():
-     try:
-         return 1
-     except ValueError:
-         return 2
-     finally:
-         x = 3
""",
    "try whose body has no byte code": """
+ def f():
+     try:
+         pass
+     finally:
+         x = 1
+ f()
""",
    "except star": """
+ try:
+     raise ExceptionGroup('g', [ValueError()])
+ except* ValueError:
+     x = 1
- else:
-     x = 2
""",
    "with": """
+ class C:
+     def __enter__(self):
+         return 1
+     def __exit__(self, *a):
+         return True
+ with C() as a, \\
+         C() as b:
+     x = 1
+ with (
+     C() as a,
+     C() as b,
+ ):
+     raise ValueError
-     y = 1
+ z = 1
""",
    "with that is not reached": """
+ if 0:
-     with open(
-         'a'
-     ) as f:
-         x = 1
""",
    "match": """
+ x = 2
+ match x:
+     case 1:
-         y = 1
+     case 2:
+         y = 2
-     case _:
-         y = 3
""",
    "match that falls through to the last case": """
+ x = 5
+ match x:
+     case 1:
-         y = 1
+     case _:
+         y = 3
""",
    "match with patterns and guards over lines": """
+ x = [1, 2]
+ match x:
+     case (
+         [a]
+     ):
-         y = 1
+     # between
+     case [a, b] if (
+         a == 1
+     ):
+         y = 2
-     case [*_]:
-         y = 3
""",
    "match in a function that is not called": """
+ def f(x):
-     match x:
-         case 1:
-             return 1
-         case _:
-             return 2
""",
    "closers": """
+ x = [
+     1,
+     2,
+ ]
+ y = {
+     'a': 1,
+ }
+ print(
+ )
+ z = (
+     x
+ )[
+     0
+ ]
""",
    "constants over lines": """
+ x = (
+     1
+     +
+     2
+ )
+ y = 'a' \\
+     'b'
""",
    "closers that are not reached": """
+ def f():
-     x = [
-         1,
-     ]
-     return {
-         'a': x,
-     }
""",
    "string over lines": """
+ def f():
-     x = '''
- # no comment
-
- else:
- '''
-     return x
+ y = '''
+ # no comment
+
+ '''
""",
    "f-string over lines": """
+ a = 1
+ x = f'''
+ {a}
+ # {
+     a
+ }
+ '''
""",
    "lambda over lines, never called": """
+ f = lambda x: (
+     x
+     + 1
+ )
""",
    "comprehension over lines, over nothing": """
+ x = [
+     i
+     for i in ()
+     if i
+ ]
""",
    "blank lines and comments in a call": """
+ print(
+     # first
+
+     end='',
+     # last
+ )
""",
    "semicolons": """
+ x = 1; y = 2
+ if 0:
-     x = 3; y = 4
""",
    "semicolon before a statement over lines": """
+ x = 1; y = (
+     2
+ )
""",
    "line continuation": """
+ x = 1 + \\
+     2
+ if 0:
-     y = x + \\
-         2
+ assert \\
+     x
""",
    "assert with its message": """
+ x = 1
+ assert x, (
+     'never'
+     'made'
+ )
""",
    "return over lines": """
+ def f(a):
+     return (
+         a,
+         2
+     )
+ f(1)
""",
    "conditional expression over lines": """
+ x = 1
+ y = (
+     2
+     if x
+     else 3
+ )
""",
    "import over lines": """
+ from sys import (
+     path,
+     # why
+     argv,
+ )
""",
    "comments in every position": """
+ # top
+
+ x = 1
+ # before if
+ if x:
+     # first in block
+     y = 1
+     # last in block
- else:
-     # first in the other
-
-     y = 2
-     # last in the other
+ # after
+
+ z = 1
+ # end
""",
    "comments of a function that is not called": """
+ def f():
-     # first
-     x = 1
-
-     if x:
-         # deep
-         y = 2
-     # shallow
-     return x
-     # after return
+
+ # module
+
+ y = 1
""",
    "a comment after return stands in a block that ran": """
+ def f():
+     return 1
+     # why
+ f()
""",
    "comment before elif and else": """
+ x = 1
+ if x == 1:
+     y = 1
+ # about two
- elif x == 2:
-     y = 2
+ # about the rest
- else:
-     y = 3
""",
    "comment before except and finally": """
+ try:
+     x = 1
+ # on error
- except ValueError:
-     x = 2
+ # always
+ finally:
+     x = 3
""",
    "docstring of the module": """
+ '''doc
+
+ '''
+ x = 1
""",
    "tabs": """
+ x = 1
+ if x:
+ \ty = 1
- else:
- \t# why
- \ty = 2
""",
    "unicode": """
+ é = '变量 😀'
+ if not é:
-     变量 = 1
+ # 😀
""",
    "form feed": """
+ x = 1
+ \x0cif not x:
-     y = 1
+ \x0celse:
+     y = 2
""",
    "separators that end no line": """
+ x = '\u2028'; y = '\x85'
+ if not x:
-     z = '\x1c\x1d'
+ w = 1
""",
    "async": """
+ async def a():
+     for i in range(1):
+         yield i
+ async def f():
+     async for i in a():
+         x = i
+     else:
+         x = 2
+ async def g():
-     async with f() as x:
-         pass
+ try:
+     f().send(None)
+ except StopIteration:
+     pass
""",
    "generator that is not iterated": """
+ def g():
-     x = 1
-     yield x
+ g()
""",
    "generator that stops half way": """
+ def g():
+     yield 1
-     yield 2
+ next(g())
""",
    "main guard": """
+ def main():
+     return 1
+ if __name__ == '__main__':
+     main()
- else:
-     main()
""",
    "sys.exit": """
+ import sys
+ sys.exit(
+     0
+ )
- x = 1
""",
    "else of if with nothing but pass": """
+ x = 1
+ if x:
+     pass
- else:
-     pass
+ y = 1
""",
    "pass beside statements": """
+ def f():
+     pass
+     x = 1
+     pass
+ f()
""",
    "annotated class over lines that nobody makes": """
+ def f():
-     class A(
-         dict[
-             str, int
-         ],
-     ):
-         a: int
-         def g(
-             self,
-         ) -> None:
-             pass
-     return A
""",
    "star arguments and keywords over lines": """
+ a = [1]
+ print(
+     *a,
+     sep=(
+         ''
+     ),
+     end=''
+ )
""",
    "del and augmented assignment over lines": """
+ x = y = 1
+ x += (
+     2
+ )
+ del (
+     x,
+     y,
+ )
""",
    "no executed line but the first": """
+ raise SystemExit
- def f():
-     return 1
- f()
""",
}

FROM_3_12 = {
    "type alias": """
+ type A = int
+ type B = dict[
+     str,
+     int,
+ ]
+ if 0:
-     type C = (
-         int
-     )
""",
    "generic function and class": """
+ def f[T](
+     a: T,
+ ) -> T:
-     return a
+ class A[
+     T
+ ](object):
+     x = 1
+     def m[S](self, a: S) -> S:
-         return a
""",
    "f-string with the same quotes": """
+ a = {'b': 1}
+ c = f'{a['b']}'
+ if 0:
-     d = f'{
-         a['b']
-     }'
""",
}


def parse(text: str) -> tuple[str, frozenset[int]]:
    """The program and the lines marked `+`."""
    rows = text.strip("\n").split("\n")
    assert all(row[:2] in ("+ ", "- ", "+", "-") for row in rows)
    kept = frozenset(n for n, row in enumerate(rows, start=1) if row[0] == "+")
    return "".join(row[2:] + "\n" for row in rows), kept


SOURCES = {name: parse(text) for name, text in (PROGRAMS | FROM_3_12).items()}


@cache
def seen_by(python: Path | None) -> dict[str, Seen | None]:
    """The whole table under one Python, in one process."""
    return dict(zip(SOURCES, look([s for s, _ in SOURCES.values()], python), strict=True))


def show(source: str, kept: frozenset[int]) -> str:
    lines = source.split("\n")[:-1]
    return "\n".join(f"{'+' if n in kept else '-'} {row}" for n, row in enumerate(lines, start=1))


@pytest.mark.parametrize("python", [HERE, PYTHON_3_13], ids=["this Python", "Python 3.13"])
@pytest.mark.parametrize("name", SOURCES)
def test_lines_share_the_fate_of_their_statement(name: str, python: Path | None) -> None:
    seen = seen_by(python)[name]
    if seen is None and name in FROM_3_12:
        pytest.skip("this Python does not know the syntax")
    assert seen is not None, "does not compile"
    source, expected = SOURCES[name]
    assert len(seen.structure.follows) == source.count("\n")
    kept = kept_lines(seen.structure, seen.executed)
    assert show(source, kept) == show(source, expected)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_the_kind_of_line_end_changes_nothing(end: str) -> None:
    plain = seen_by(HERE)
    names = [name for name in PROGRAMS if plain[name] is not None]
    others = look([SOURCES[name][0].replace("\n", end) for name in names])
    for name, other in zip(names, others, strict=True):
        assert other == plain[name], name


@pytest.mark.parametrize(
    ("source", "comments"),
    [
        ("x = 1  # a\n# b\n\ny = 2\n", {2, 3}),
        ("s = '''\n# a\n\n'''\n", set()),
        ("f = [\n# a\n\n]\n# b", {5}),
        ("if 1:\n    # a\n    x = 1\n    # b\n\nelse:  # c\n    # d\n    x = 2\n", {2, 4, 5, 7}),
        ("x = 1\n  \n\t\n\x0c\n", {2, 3, 4}),
        ("@staticmethod\n# a\ndef f(\n    # b\n): # c\n    pass\n", set()),
        ("# a\n", {1}),
        ("\n\n", {1, 2}),
        ("", set()),
    ],
)
def test_comment_lines_hold_nothing_else_and_stand_outside_of_statements(
    source: str, comments: set[int]
) -> None:
    if source.startswith("@"):
        source = source.replace("staticmethod", "print")
    (seen,) = look([source])
    assert seen is not None
    assert seen.structure.comment_lines == comments


@pytest.mark.parametrize("source", ["# a\n# b\n", "\n\n", "'doc'\n", "pass\n", "global x\n"])
@pytest.mark.parametrize("python", [HERE, PYTHON_3_13], ids=["this Python", "Python 3.13"])
def test_a_program_that_does_nothing_has_run(source: str, python: Path | None) -> None:
    (seen,) = look([source], python)
    assert seen is not None
    lines = frozenset(range(1, source.count("\n") + 1))
    assert kept_lines(seen.structure, seen.executed) == lines


def test_both_pythons_agree_on_what_follows_what() -> None:
    old, new = seen_by(HERE), seen_by(PYTHON_3_13)
    for name in PROGRAMS:
        a, b = old[name], new[name]
        assert a is not None
        assert b is not None
        assert a.structure.comment_lines == b.structure.comment_lines, name
        assert kept_lines(a.structure, a.executed) == kept_lines(b.structure, b.executed), name


def test_hostile_sources_are_described_in_time_and_without_recursion() -> None:
    deep = "".join(" " * n + "if x:\n" for n in range(90)) + " " * 90 + "y = 1\n"
    wide = "x = 1\n" * 20_000
    chain = "if x:\n    y\n" + "elif z:\n    y\n" * 900
    nested = "x = " + "(" * 150 + "1" + ")" * 150 + "\n"
    long = "x = [\n" + "1,\n" * 20_000 + "]\n"
    attributes = "x" + ".a" * 2_000 + "\n"
    sources = [deep, wide, chain, nested, long, attributes, "x = " + "-" * 1_000 + "1\n"]
    for seen, source in zip(look(sources), sources, strict=True):
        assert seen is None or len(seen.structure.follows) == source.count("\n")
