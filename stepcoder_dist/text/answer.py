"""The program in an answer that some other trainer's policy wrote: prose and fenced code.

Our own prompts open the fence, so a completion is code from its first character (`program.py`).
Elsewhere the policy opens it. Where a block ends is the same: at a fence that opens its line and is
not inside a string.
"""

from __future__ import annotations

import re

from stepcoder_dist.text.program import assemble

_OPENING = re.compile(r"^[ \t]*```+[ \t]*([\w+.#-]*)[^`\r\n]*(?:\r\n|\r|\n|$)", re.MULTILINE)
_LAST_LINE = re.compile(
    r"(?:^|[\r\n])[ \t]*```+[ \t]*(?:python|py)[\w.]*[ \t]*[\r\n]*$", re.IGNORECASE
)
_PYTHON = ("python", "python3", "py")


def ends_in_open_fence(prompt: str) -> bool:
    """Return whether the prompt's last line opens a Python block, as ours does."""
    return _LAST_LINE.search(prompt) is not None


def program_of(answer: str, *, fence_open: bool = False) -> str:
    """Return the source of the program in an answer.

    With `fence_open` the prompt has opened the block: the program ends at the first closing fence.
    Otherwise it is the last block that says Python, else the last block, else the complete answer:
    a policy that thinks aloud gives its answer last. A block that is not closed ends with the text.
    """
    if fence_open:
        return assemble("", answer).source
    blocks: list[tuple[str, str]] = []
    at = 0
    while opening := _OPENING.search(answer, at):
        rest = answer[opening.end() :]
        program = assemble("", rest)
        blocks.append((opening[1].lower(), program.source))
        if not program.fence_chars[1] > program.fence_chars[0]:
            break
        at = opening.end() + program.fence_chars[1]
    if not blocks:
        return answer
    named = [source for language, source in blocks if language in _PYTHON]
    return (named or [source for _, source in blocks])[-1]
