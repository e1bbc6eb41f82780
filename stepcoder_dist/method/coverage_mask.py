"""FGO's two maps: executed lines -> lines of complete statements -> tokens (StepCoder §4).

What a statement is, and which lines follow which, was decided by the guest's Python before the
program ran (`records.LineStructure`). Which lines count is `credit.py`'s choice.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stepcoder_dist.records import BoolArray, Completion, LineStructure
from stepcoder_dist.text.program import Program, line_of, line_starts

IntArray = npt.NDArray[np.int64]

_VISIBLE = np.array([not chr(code).isspace() for code in range(0x3002)])
"""By code point; U+3000 is the last white space, and the last entry is of everything above it."""


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
        if comments != "block" and line in structure.comment_lines:
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
    starts, ends = completion.char_spans[:, 0], completion.char_spans[:, 1]
    visible = _visible(completion.text)
    if len(visible):
        # behind the last visible character: as that one
        first = np.minimum(visible.searchsorted(starts), len(visible) - 1)
        mask = _kept_chars(visible[first], program, lines, keep_prose=keep_prose)
    else:
        given = len(program.source.rstrip())
        line = line_of(line_starts(program.source), max(given - 1, 0))
        mask = np.full(len(starts), line in lines)
    fence_start, fence_end = program.fence_chars
    # any token with a piece of the closing fence ends the answer
    mask |= (starts < fence_end) & (ends > fence_start)
    if completion.ended:
        mask[-1] = True
    return mask


def _visible(text: str) -> IntArray:
    """Return the offsets of a text's visible characters, ascending."""
    if text.isascii():
        codes: npt.NDArray[Any] = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    else:
        every = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        codes = np.minimum(every, len(_VISIBLE) - 1)
    visible: IntArray = _VISIBLE[codes].nonzero()[0]
    return visible


def _kept_chars(
    offsets: IntArray, program: Program, lines: frozenset[int], *, keep_prose: bool
) -> BoolArray:
    """Return bool, of the shape of `offsets`: which visible characters of a completion are kept."""
    starts = np.array(line_starts(program.source))
    kept_line = np.zeros(len(starts) + 1, dtype=np.bool_)
    kept_line[[line for line in lines if line <= len(starts)]] = True
    line_numbers = starts.searchsorted(program.given_chars + offsets, side="right")
    after_code = (offsets < program.fence_chars[1]) | keep_prose
    kept: BoolArray = np.where(offsets < program.code_chars, kept_line[line_numbers], after_code)
    return kept
