"""Which line of its program each sampled token is on.

It depends on the text alone. So it is found out where the completion is made, in many processes at
once, and the driver has only to look up which lines carry loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stepcoder_dist.records import ANSWER_END, PROSE, Int32Array, Program
from stepcoder_dist.text.program import line_of, line_starts

_VISIBLE = np.array([not chr(code).isspace() for code in range(0x3002)])
"""By code point; U+3000 is the last white space, and the last entry is of everything above it."""


def token_lines(program: Program, text: str, char_spans: Int32Array, *, ended: bool) -> Int32Array:
    """Return int32 [T]: the 1-based line of `program.source`, or `ANSWER_END` or `PROSE`.

    `char_spans` are the tokens' spans in the completion's text, int32 [T, 2].

    A token belongs to the line of its first visible character. One of white space only belongs to
    the next visible character, or to the last one where none follows. Tokens with a piece of the
    closing fence, and the end of sequence, end the answer; what comes after the fence is prose.
    """
    starts, ends = char_spans[:, 0], char_spans[:, 1]
    line_begins = line_starts(program.source)
    visible = _visible(text)
    if len(visible):
        # behind the last visible character: as that one
        at = visible[np.minimum(visible.searchsorted(starts), len(visible) - 1)]
        of_code = np.array(line_begins).searchsorted(program.given_chars + at, side="right")
        of_rest = np.where(at < program.fence_chars[1], ANSWER_END, PROSE)
        lines = np.where(at < program.code_chars, of_code, of_rest).astype(np.int32)
    else:
        given = len(program.source.rstrip())
        lines = np.full(len(starts), line_of(line_begins, max(given - 1, 0)), dtype=np.int32)
    fence_start, fence_end = program.fence_chars
    lines[(starts < fence_end) & (ends > fence_start)] = ANSWER_END
    if ended:
        lines[-1] = ANSWER_END
    return lines


def _visible(text: str) -> npt.NDArray[np.int64]:
    """Return the offsets of a text's visible characters, ascending."""
    if text.isascii():
        codes: npt.NDArray[Any] = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    else:
        every = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        codes = np.minimum(every, len(_VISIBLE) - 1)
    visible: npt.NDArray[np.int64] = _VISIBLE[codes].nonzero()[0]
    return visible
