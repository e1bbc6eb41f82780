"""Valid Python programs at random, and an oracle of what they execute that knows no lines.

Each program is written twice: plain, every line with the statement or block that it belongs to,
and with a call `_hit(k)` in front of every statement. The second is run to learn which statements
are executed; nothing is traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import guest_driver

Draw = Callable[[int, int], int]
"""`draw(low, high)`: an integer in low…high, from hypothesis or from a seeded generator."""

SIMPLE = (
    ["v = 1"],
    ["变 = 'é😀'  # 量"],
    ["v = 1; w = 2"],
    ["pass"],
    ["v = [i for i in (1, 2) if i]"],
    ["if no: v = 2"],
    ["if yes: v = 3"],
    ["def one(): return 1"],
    ["v = call(", "    1,", "    # in a call", "", "    call(2),", ")"],
    ["v = (", "1 +", "        2", ")  # after"],
    ["v = '''a", "# in a string", "", "else:", "b'''"],
    ["v = 1 + \\", "  2"],
    ["assert yes, (", "    'never'", ")"],
    ["f = lambda x: (", "    x", ")"],
    ["v = {", "    'a': [", "        1,", "    ],", "}"],
    ["call(", "    1,", "    boom(),", ")"],
    ["raise ValueError"],
)
CONDITIONS = ("yes", "no", "not yes", "0", "1", "(", "yes and (no or yes)")


@dataclass
class Written:
    """A program, plain and with its hits."""

    indent: str
    plain: list[tuple[str, tuple[str, int]]] = field(default_factory=list)
    """Every line and what decides over it: ("statement", k), ("block", b) or ("comment", b)."""
    marked: list[str] = field(default_factory=list)
    blocks: list[list[int]] = field(default_factory=list)
    """[b]: the statements directly in block b."""
    statements: int = 0
    functions: int = 0


@dataclass(frozen=True)
class Generated:
    """What the tests see. C = characters of the source."""

    source: str
    kept: tuple[bool | None, ...]
    """[C]: was the character's statement executed? None: a comment line's character, whose
    fate is `in_block` or a setting."""
    in_block: tuple[bool, ...]
    """[C]: was the block of a comment line's character entered?"""


class Writer:
    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.out = Written(indent=("    ", "\t", "  ")[draw(0, 2)])

    def program(self) -> Generated:
        self._block(0, statements=self._draw(1, 5), inside="module")
        end = ("\n", "\r\n", "\r")[self._draw(0, 2)]
        hits = self._run()
        entered = [any(k in hits for k in block) for block in self.out.blocks]
        kept: list[bool | None] = []
        in_block: list[bool] = []
        for text, (kind, number) in self.out.plain:
            fate = {
                "statement": number in hits,
                "block": kind == "block" and entered[number],
                "comment": None,
            }[kind]
            width = len(text) + len(end)
            kept += [fate] * width
            in_block += [kind == "comment" and entered[number]] * width
        source = "".join(text + end for text, _ in self.out.plain)
        return Generated(source, tuple(kept), tuple(in_block))

    def _run(self) -> set[int]:
        hits: set[int] = set()

        def hit(k: int, value: Any = False) -> Any:
            hits.add(k)
            return value

        code = compile("\n".join(self.out.marked) + "\n", "<marked>", "exec", dont_inherit=True)
        with contextlib.suppress(ValueError):
            exec(code, {**guest_driver.names(), "_hit": hit})
        return hits

    # ── lines ────────────────────────────────────────────────────────────────────────────────

    def _line(self, depth: int, text: str, kind: str, number: int, marked: str = "") -> None:
        self.out.plain.append((self.out.indent * depth + text, (kind, number)))
        self.out.marked.append("    " * depth + (marked or text))

    def _statement(self, block: int, depth: int, *, silent: bool = False) -> int:
        """A new statement's number, its hit already written."""
        number = self.out.statements
        self.out.statements += 1
        self.out.blocks[block].append(number)
        if not silent:
            self.out.marked.append("    " * depth + f"_hit({number})")
        return number

    def _header(self, block: int, depth: int, lines: list[str]) -> None:
        number = self._statement(block, depth)
        for text in lines:
            self._line(depth, text, "statement", number)

    def _gap(self, block: int, depth: int) -> None:
        choice = self._draw(0, 5)
        if choice == 0:
            self._line(depth, "# a comment: 注", "comment", block)
        elif choice == 1:
            self.out.plain.append(("", ("comment", block)))
        elif choice == 2:
            self.out.plain.append((self.out.indent * depth + " ", ("comment", block)))

    # ── blocks ───────────────────────────────────────────────────────────────────────────────

    def _block(self, depth: int, *, statements: int, inside: str) -> int:
        block = len(self.out.blocks)
        self.out.blocks.append([])
        self._gap(block, depth)
        if inside in {"def", "class"} and self._draw(0, 2) == 0:
            for text in (["'doc'"], ["'''doc", "# no comment", "'''"])[self._draw(0, 1)]:
                self._line(depth, text, "block", block)
        if inside == "def" and self._draw(0, 2) == 0:
            self._line(depth, ("global g", "x: int")[self._draw(0, 1)], "block", block)
        for _ in range(statements):
            self._any(block, depth, inside)
            self._gap(block, depth)
        return block

    def _any(self, block: int, depth: int, inside: str) -> None:
        compounds = (
            self._if,
            self._for,
            self._while,
            self._try,
            self._def,
            self._class,
            self._with,
        )
        choice = self._draw(0, 13 if depth < 3 else 6)
        if choice >= 7:
            compounds[choice - 7](block, depth, inside)
        elif choice == 0 and inside in {"def", "loop"}:
            number = self._statement(block, depth)
            words = ["return 1"] if inside == "def" else [("break", "continue")[self._draw(0, 1)]]
            self._line(depth, words[0], "statement", number)
        else:
            # the two that raise are rare, or nothing would ever run
            last = len(SIMPLE) - 1 if self._draw(0, 7) == 0 else len(SIMPLE) - 3
            number = self._statement(block, depth)
            for n, text in enumerate(SIMPLE[self._draw(0, last)]):
                if n == 0:
                    self._line(depth, text, "statement", number)
                else:  # further lines stand where they stand
                    self.out.plain.append((text, ("statement", number)))
                    self.out.marked.append(text)

    def _inner(self, depth: int, inside: str) -> None:
        self._block(depth + 1, statements=self._draw(1, 3), inside=inside)

    def _opened(self, depth: int, text: str, inside: str) -> None:
        """`else:`, `finally:`, `try:`: the block that they open decides."""
        self._line(depth, text, "block", len(self.out.blocks))
        self._inner(depth, inside)

    def _if(self, block: int, depth: int, inside: str) -> None:
        inside = inside if inside in {"def", "loop"} else "if"
        condition = CONDITIONS[self._draw(0, len(CONDITIONS) - 1)]
        if condition == "(":
            self._header(
                block, depth, ["if (", "        yes", "        # why", "        and no", "):"]
            )
        else:
            self._header(block, depth, [f"if {condition}:"])
        self._inner(depth, inside)
        for _ in range(self._draw(0, 2)):
            number = self._statement(block, depth, silent=True)
            test = ("yes", "no", "not no")[self._draw(0, 2)]
            self._line(
                depth, f"elif {test}:", "statement", number, f"elif _hit({number}) or {test}:"
            )
            self._inner(depth, inside)
        if self._draw(0, 1):
            self._opened(depth, ("else:", "else :  # otherwise")[self._draw(0, 1)], inside)

    def _for(self, block: int, depth: int, inside: str) -> None:
        self._header(block, depth, [f"for i{depth} in range({self._draw(0, 2)}):"])
        self._inner(depth, "loop")
        if self._draw(0, 3) == 0:
            self._opened(depth, "else:", inside if inside == "def" else "if")

    def _while(self, block: int, depth: int, inside: str) -> None:
        name = f"w{self.out.statements}"
        self._header(block, depth, [f"{name} = {self._draw(0, 2)}"])
        self._header(block, depth, [f"while {name}:"])
        body = len(self.out.blocks)
        self.out.blocks.append([])
        self._header(body, depth + 1, [f"{name} -= 1"])
        self._gap(body, depth + 1)
        self._any(body, depth + 1, "loop")
        if self._draw(0, 3) == 0:
            self._opened(depth, "else:", inside if inside == "def" else "if")

    def _try(self, block: int, depth: int, inside: str) -> None:
        inside = inside if inside in {"def", "loop"} else "if"
        self._statement(block, depth)  # has no line of its own, but its block was entered
        self._opened(depth, "try:", inside)
        handled = self._draw(0, 2)
        for name in ("KeyError", "ValueError")[2 - handled :]:
            number = self._statement(block, depth, silent=True)
            self._line(
                depth,
                f"except {name}:",
                "statement",
                number,
                f"except _hit({number}, {name}):",
            )
            self._inner(depth, inside)
        if handled and self._draw(0, 2) == 0:
            self._opened(depth, "else:", inside)
        if not handled or self._draw(0, 1):
            self._opened(depth, "finally:", "if")

    def _def(self, block: int, depth: int, _inside: str) -> None:
        name = f"f{self.out.functions}"
        self.out.functions += 1
        headers = (
            [f"def {name}():"],
            [f"def {name}(", "    a=1,", "    # arguments", "    *,", "    b=2,", "):"],
            [f"def {name}(a: int = 1) -> list[", "    int", "]:"],
        )
        self._header(block, depth, headers[self._draw(0, 2)])
        self._inner(depth, "def")
        self._gap(block, depth)
        if self._draw(0, 1):
            self._header(block, depth, [f"{name}()"])

    def _class(self, block: int, depth: int, _inside: str) -> None:
        self._header(
            block, depth, (["class A:"], ["class A(", "    object", "):"])[self._draw(0, 1)]
        )
        self._inner(depth, "class")

    def _with(self, block: int, depth: int, inside: str) -> None:
        inside = inside if inside in {"def", "loop"} else "if"
        headers = (["with ctx():"], ["with (", "    ctx() as a,", "    ctx(),", "):"])
        self._header(block, depth, headers[self._draw(0, 1)])
        self._inner(depth, inside)


def generate(draw: Draw) -> Generated:
    """One program."""
    return Writer(draw).program()
