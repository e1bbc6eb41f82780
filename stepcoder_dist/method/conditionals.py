"""The start points of CCCS: the conditional statements of a reference (StepCoder §3).

With E conditional statements a problem has ⌈√E⌉ stages; at stage c > 0 it starts at the line of
conditional number ⌈E/⌈√E⌉⌉·c (0-based), at stage 0 from nothing.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass

from stepcoder_dist.text.program import line_starts

_CONDITIONALS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match)
_ELIF = re.compile(r"[ \t\f]*elif\b")


def conditional_lines(source: str) -> tuple[int, ...]:
    """Return the 1-based first lines, ascending, of `if`, `for`, `while` and `match` statements.

    Nested ones count; an `elif` belongs to its `if`; several on one line count once. Raises
    `SyntaxError` or `ValueError` when the source does not parse.
    """
    lines: set[int] = set()
    elifs: set[ast.AST] = set()
    starts = line_starts(source)
    # breadth first: an `if` is seen before the `elif` in its `orelse`
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _CONDITIONALS) or node in elifs:
            continue
        lines.add(node.lineno)
        branch = _elif_of(node, source, starts)
        while branch is not None:
            elifs.add(branch)
            branch = _elif_of(branch, source, starts)
    return tuple(sorted(lines))


def _elif_of(node: ast.stmt, source: str, starts: tuple[int, ...]) -> ast.If | None:
    """Return the `if` node that is this one's `elif`; in the tree it looks like `else:` + `if`."""
    if isinstance(node, ast.If) and len(node.orelse) == 1:
        branch = node.orelse[0]
        if isinstance(branch, ast.If) and _ELIF.match(source, starts[branch.lineno - 1]):
            return branch
    return None


@dataclass(frozen=True, slots=True)
class Stages:
    """The start points of one problem, by stage."""

    conditional_lines: tuple[int, ...]

    @classmethod
    def of(cls, source: str) -> Stages:
        """Raises `SyntaxError` or `ValueError` when the source does not parse."""
        return cls(conditional_lines(source))

    @property
    def stages(self) -> int:
        """⌈√E⌉, exact for any E."""
        count = len(self.conditional_lines)
        root = math.isqrt(count)
        return root + (root * root < count)

    @property
    def stride(self) -> int:
        """⌈E/⌈√E⌉⌉ conditional statements from one stage to the next; 0 where E = 0."""
        return -(-len(self.conditional_lines) // self.stages) if self.stages else 0

    @property
    def first(self) -> int:
        """The easiest stage, with the most given code: where CCCS begins."""
        return max(self.stages - 1, 0)

    @property
    def starts(self) -> tuple[int, ...]:
        """The line of each stage: `start_line`."""
        return tuple(self.start_line(stage) for stage in range(self.first + 1))

    def start_line(self, stage: int) -> int:
        """Return the 1-based line at which the policy starts; 0 where nothing is given.

        Raises `ValueError` for a stage that the problem does not have.
        """
        if not 0 <= stage <= self.first:
            raise ValueError(f"stage {stage} of a problem with stages 0…{self.first}")
        return self.conditional_lines[self.stride * stage] if stage else 0
