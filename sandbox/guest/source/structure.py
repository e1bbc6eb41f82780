"""The lines of a program that share a fate, from which FGO's mask is made.

This is made from the AST and the compiled code, in the unprivileged child, before the program runs.
A *unit* is what is executed as one: a simple statement with all its lines, or the header of a
compound statement (decorators and closers included). A *block* is a list of statements.

    a unit with byte code                        its own byte-code lines decide
    a header without byte code (`case _:`)       the block that it opens decides
    `else:`, `finally:`                          the block that they open decides
    no byte code by nature (`global`, docstring) the block that it is in decides
    no byte code because unreachable             nothing decides: it is never executed
    comments and blank lines                     the block that they are in decides

Physical lines end with \\r\\n, \\r or \\n and nothing else. Nothing here is recursive: hostile
sources nest deeply. After any error `describe` falls back to lines that follow themselves.
"""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from typing import Any

from sandbox.guest.source.statement_lines import (
    first_line,
    header_end_of,
    indent_of,
    no_code_by_nature,
    physical_lines,
)

_TERMINATORS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_NO_INDENT = 1_000_000
"""The indentation of a block that begins on its header's line: no comment belongs to it."""

Lines = tuple[int, ...]


def describe(source: str, tree: ast.Module, code_lines: frozenset[int]) -> dict[str, Any]:
    """Return {"follows": [index into "sets" for each line], "sets": [...], "comments": [...]}."""
    try:
        follows, comments = _Reader(tree, physical_lines(source), code_lines).read()
    except (ValueError, RecursionError, MemoryError, AttributeError, TypeError, IndexError):
        return simple(source, code_lines)
    return _indexed(follows, comments)


def simple(source: str, code_lines: frozenset[int]) -> dict[str, Any]:
    """Return the fallback: lines follow themselves, or the last line before with byte code."""
    follows: list[Lines] = []
    last: Lines = ()
    for line in range(1, len(physical_lines(source)) + 1):
        if line in code_lines:
            last = (line,)
        follows.append(last)
    return _indexed(follows, [])


def _indexed(follows: list[Lines], comments: list[int]) -> dict[str, Any]:
    sets: dict[Lines, int] = {}
    indexes = [sets.setdefault(entry, len(sets)) for entry in follows]
    return {"follows": indexes, "sets": list(sets), "comments": comments}


class _Block:
    """A list of statements, and the lines that it spans."""

    __slots__ = ("decided_by", "end", "indent", "reach", "start", "units")

    def __init__(self, start: int, end: int, indent: int) -> None:
        self.start = start
        self.end = end
        self.reach = end
        """The last line before the next one with code: a comment up to there can belong here."""
        self.indent = indent
        self.units: list[_Unit] = []
        self.decided_by: Lines = ()


class _Unit:
    """Lines that are executed as one."""

    __slots__ = ("by_nature", "end", "opens", "own", "parent", "start")

    def __init__(self, parent: _Block, start: int, end: int) -> None:
        self.parent = parent
        self.start = start
        self.end = end
        self.own: Lines = ()
        """The unit's byte-code lines; left empty for `else:` and `finally:`."""
        self.opens: _Block | None = None
        """The block that a header opens."""
        self.by_nature = False
        """Whether the unit has no byte code although it can be reached."""

    def entry(self) -> Lines:
        if self.own:
            return self.own
        if self.opens is not None:
            return self.opens.decided_by
        return self.parent.decided_by if self.by_nature else ()


class _Reader:
    def __init__(self, tree: Any, lines: list[str], code_lines: frozenset[int]) -> None:
        self._lines = lines
        self._code = sorted(code_lines)
        self._units: list[_Unit] = []
        self._module = _Block(1, len(lines), 0)
        self._blocks = [self._module]
        self._waiting: list[tuple[_Block, list[Any]]] = [(self._module, tree.body)]

    def read(self) -> tuple[list[Lines], list[int]]:
        """Return what each line follows, and the lines outside of any statement."""
        while self._waiting:
            self._block(*self._waiting.pop())
        self._decide()
        count = len(self._lines)
        covering: list[list[Lines]] = [[] for _ in range(count)]
        for unit in self._units:
            for entries in covering[unit.start - 1 : unit.end]:
                entries.append(unit.entry())
        gaps = [line for line, entries in enumerate(covering, start=1) if not entries]
        follows = [_union(entries) for entries in covering]
        self._reach(covering)
        self._fill(follows, gaps)
        return follows, gaps

    # ── the tree, block by block ─────────────────────────────────────────────────────────────

    def _block(self, block: _Block, statements: list[Any]) -> None:
        reachable = True
        for statement in statements:
            if isinstance(statement, ast.Match):
                self._match(block, statement)
            elif hasattr(statement, "body"):
                self._compound(block, statement)
            else:
                unit = self._unit(block, statement.lineno, statement.end_lineno)
                unit.by_nature = reachable and no_code_by_nature(statement)
                if not reachable:  # clean-up code can carry the line of what it follows
                    unit.own = ()
            reachable = reachable and not isinstance(statement, _TERMINATORS)

    def _compound(self, block: _Block, statement: Any) -> None:
        end = self._clause(block, first_line(statement), statement, statement.body)
        for handler in getattr(statement, "handlers", ()):
            end = self._clause(block, handler.lineno, handler, handler.body)
        while self._continues_with_elif(statement):
            (statement,) = statement.orelse
            end = self._clause(block, statement.lineno, statement, statement.body)
        for field in ("orelse", "finalbody"):
            body = getattr(statement, field, None)
            if body:
                end = self._keyword(block, end, body)

    def _match(self, block: _Block, statement: ast.Match) -> None:
        first = statement.cases[0].pattern.lineno
        end = header_end_of(statement)
        case = self._find(end + 1, first, word="case")
        header = self._unit(block, statement.lineno, self._last_solid(end, case - 1))
        end = header.end
        for part in statement.cases:
            start = self._find(end + 1, part.pattern.lineno)
            end = self._clause(block, start, part, part.body)
        # a subject that is a constant may leave no byte code: then the first case decides
        header.opens = self._blocks[-len(statement.cases)]

    def _clause(self, block: _Block, start: int, node: Any, body: list[Any]) -> int:
        """Add a header and the block that it opens; return the block's last line."""
        first = first_line(body[0])
        header = self._unit(
            block, start, self._last_solid(max(header_end_of(node), start), first - 1)
        )
        header.opens = self._opened(header.end, body)
        return header.opens.end

    def _keyword(self, block: _Block, before: int, body: list[Any]) -> int:
        """Add `else:` or `finally:`, where it has lines of its own, and its block."""
        first = first_line(body[0])
        start = self._find(before + 1, first)
        end = self._last_solid(start, first - 1)
        opened = self._opened(end if start < first else before, body)
        if start < first:
            unit = self._unit(block, start, end)
            unit.own, unit.opens = (), opened
        return opened.end

    def _opened(self, header_end: int, body: list[Any]) -> _Block:
        first, end = first_line(body[0]), body[-1].end_lineno
        inline = first <= header_end
        indent = _NO_INDENT if inline else indent_of(self._lines[first - 1])
        block = _Block(min(header_end + 1, first), end, indent)
        self._blocks.append(block)
        self._waiting.append((block, body))
        return block

    def _unit(self, block: _Block, start: int, end: int) -> _Unit:
        unit = _Unit(block, start, end)
        code = self._code
        unit.own = tuple(code[bisect_left(code, start) : bisect_left(code, end + 1)])
        self._units.append(unit)
        block.units.append(unit)
        return unit

    def _continues_with_elif(self, statement: Any) -> bool:
        if not isinstance(statement, ast.If) or len(statement.orelse) != 1:
            return False
        (branch,) = statement.orelse
        return isinstance(branch, ast.If) and bool(
            re.match(r"\s*elif\b", self._lines[branch.lineno - 1])
        )

    # ── lines ────────────────────────────────────────────────────────────────────────────────

    def _find(self, start: int, end: int, word: str = "") -> int:
        """Return the first line in start…end whose code begins with the word; `end` without one."""
        for line in range(start, end):
            text = self._lines[line - 1].strip()
            if text and text[0] != "#" and text.startswith(word):
                return line
        return end

    def _last_solid(self, start: int, end: int) -> int:
        """Return the last line in start…end that is no blank and no comment; at least `start`."""
        for line in range(end, start, -1):
            text = self._lines[line - 1].strip()
            if text and text[0] != "#":
                return line
        return start

    def _decide(self) -> None:
        for block in reversed(self._blocks):  # a block comes after the one that it is in
            block.decided_by = _union(
                [u.own or (u.opens.decided_by if u.opens else ()) for u in block.units]
            )
        if not self._module.units:
            self._module.decided_by = tuple(self._code)

    def _reach(self, covering: list[list[Lines]]) -> None:
        after = len(covering)  # last line before the next line with code
        reaches = [0] * (after + 1)
        for line in range(after, 0, -1):
            reaches[line] = after
            if covering[line - 1]:
                after = line - 1
        for block in self._blocks:
            block.reach = reaches[min(block.end, len(covering))]

    def _fill(self, follows: list[Lines], gaps: list[int]) -> None:
        """Put comments and blank lines into the block that they are in."""
        coming = sorted(self._blocks, key=lambda block: (-block.start, block.end))
        around: list[_Block] = []
        for line in gaps:
            while coming and coming[-1].start <= line:
                around.append(coming.pop())
            around = [block for block in around if block.reach >= line]
            text = self._lines[line - 1]
            if text.strip():
                column = indent_of(text)
                inside = (block for block in reversed(around) if block.indent <= column)
            else:
                inside = (block for block in reversed(around) if block.end >= line)
            follows[line - 1] = next(inside, self._module).decided_by


def _union(entries: list[Lines]) -> Lines:
    if len(entries) == 1:
        return entries[0]
    return tuple(sorted(set().union(*entries)))
