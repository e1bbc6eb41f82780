"""FGO's two maps: executed lines -> lines of complete statements -> tokens (StepCoder §4).

What a statement is, and which lines follow which, was decided by the guest's Python before the
program ran (`records.LineStructure`). Which lines count is `credit.py`'s choice, and which line a
token is on is in `text/token_lines.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from stepcoder_dist.records import (
    ANSWER_END,
    PROSE,
    BoolArray,
    Float32Array,
    Int32Array,
    LineStructure,
)


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
    token_lines: Int32Array, lines: frozenset[int], *, keep_prose: bool = False
) -> BoolArray:
    """Return bool [T]: which sampled tokens are on the given 1-based lines of the program.

    `token_lines` are `Completion.token_lines`. Tokens that end the answer (closing fence, end of
    sequence) are always kept; prose after the fence is not.
    """
    kept = bytearray(max(int(token_lines.max()), *lines, 0) + 2)
    kept[ANSWER_END] = True
    for line in lines:
        kept[line] = True
    kept[PROSE] = keep_prose  # from the end
    mask: BoolArray = np.frombuffer(kept, dtype=np.bool_)[token_lines]
    return mask


def token_weights(token_lines: Int32Array, weights: Mapping[int, float]) -> Float32Array | None:
    """Return float32 [T]: the weight of each token's line, and 1 outside of the program.

    `token_lines` are `Completion.token_lines`. None where no line has a weight.
    """
    if not weights:
        return None
    of_line = np.ones(max(int(token_lines.max()), *weights) + 2, dtype=np.float32)
    for line, weight in weights.items():
        of_line[line] = weight
    return of_line[token_lines]  # prose, from the end, is no line
