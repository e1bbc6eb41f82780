"""FGO's two maps: executed lines -> lines of complete statements -> tokens (StepCoder §4).

What a statement is, and which lines follow which, was decided by the guest's Python before the
program ran (`records.LineStructure`). Which lines count is `credit.py`'s choice.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from stepcoder_dist.records import BoolArray, Completion, LineStructure
from stepcoder_dist.text.program import Program, line_of, line_starts

_VISIBLE = re.compile(r"\S")


def kept_lines(
    structure: LineStructure,
    executed: frozenset[int],
    comments: Literal["block", "keep", "mask"] = "block",
) -> frozenset[int]:
    """Return the 1-based lines of the statements and blocks that ran, given the executed lines.

    The program has to have compiled, and its coverage has to be trusted. Given the union over all
    tests, the result is what FGO keeps.
    """
    executed = executed & structure.code_lines
    # nothing but comments and declarations: one block, the module, and that did run
    bare = not structure.code_lines
    ran: dict[int, bool] = {}  # the lines of a block share one tuple, which can be long
    kept = set()
    for line, deciding in enumerate(structure.follows, start=1):
        if line in structure.comment_lines and comments != "block":
            if comments == "keep":
                kept.add(line)
            continue
        key = id(deciding)
        if key not in ran:
            ran[key] = bare or not executed.isdisjoint(deciding)
        if ran[key]:
            kept.add(line)
    return frozenset(kept)


def token_mask(
    completion: Completion, program: Program, lines: frozenset[int], *, keep_prose: bool = False
) -> BoolArray:
    """Return bool [T]: which sampled tokens are on the given 1-based lines of the program.

    A token belongs to the line of its first visible character. One of white space only belongs to
    the next visible character, or to the last one where none follows. Tokens that end the answer
    (closing fence, end of sequence) are always kept; prose after the fence is not.
    """
    by_char = _CharMask(completion.text, program, lines, keep_prose=keep_prose)
    mask = np.fromiter(
        (by_char.keeps(int(start), int(end)) for start, end in completion.char_spans),
        dtype=np.bool_,
        count=len(completion.token_ids),
    )
    if completion.ended:
        mask[-1] = True
    return mask


class _CharMask:
    """Decides which spans of a completion's text are kept."""

    def __init__(
        self, text: str, program: Program, lines: frozenset[int], *, keep_prose: bool
    ) -> None:
        self._text = text
        self._program = program
        self._lines = lines
        self._starts = line_starts(program.source)
        self._keep_prose = keep_prose
        self._trailing = self._keeps_trailing()

    def keeps(self, start: int, end: int) -> bool:
        fence_start, fence_end = self._program.fence_chars
        if start < fence_end and end > fence_start:
            return True  # any token with a piece of the closing fence ends the answer
        visible = _VISIBLE.search(self._text, start)
        return self._trailing if visible is None else self._char(visible.start())

    def _keeps_trailing(self) -> bool:
        """Whether white space at the end is kept: as the last visible character before it."""
        last = len(self._text.rstrip()) - 1
        if last >= 0:
            return self._char(last)
        given = len(self._program.source.rstrip())
        return line_of(self._starts, max(given - 1, 0)) in self._lines

    def _char(self, offset: int) -> bool:
        """Whether the visible character at `offset` is kept."""
        if offset >= self._program.code_chars:
            return offset < self._program.fence_chars[1] or self._keep_prose
        return line_of(self._starts, self._program.given_chars + offset) in self._lines
