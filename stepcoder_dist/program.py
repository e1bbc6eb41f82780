"""Prompt + given code + completion: what the policy reads, and the program that it wrote.

    statement, starter code │ ```python │ given code ┃ completion … │ ``` │ end of sequence
    ────────── prompt ──────────────────┘            ┃
    ───────────────── prompt_ids ────────────────────┃ token_ids

The given code is the start of the assistant's answer; the boundary ┃ is always between two
tokens of one encoding of prompt + reference, so a policy sees the tokens that it saw in SFT.
"""

from __future__ import annotations

import re
from bisect import bisect_right

import numpy as np

from stepcoder_dist.config import PromptConfig, SamplingConfig
from stepcoder_dist.ports import Tokenizer
from stepcoder_dist.records import (
    Completion,
    Int32Array,
    Problem,
    Program,
    RolloutRequest,
    SftExample,
    StartPoint,
    Ticket,
)

OPENING_FENCE = "```python\n"
CLOSING_FENCE = "```"

# Python's own line ends. str.splitlines() also breaks at form feeds and Unicode separators,
# which Python's parser does not.
_LINE_END = re.compile(r"\r\n|\r|\n")
_SLOT = re.compile(r"\{statement\}|\{starter_code\}")
_FENCE = re.compile(r"(?:^|(?<=\n)|(?<=\r))[ \t]*(```+)")


def line_starts(source: str) -> tuple[int, ...]:
    """Offsets of the first character of every line; a final line end opens no further line."""
    starts = [0, *(end.end() for end in _LINE_END.finditer(source))]
    if len(starts) > 1 and starts[-1] == len(source):
        starts.pop()
    return tuple(starts)


def line_of(starts: tuple[int, ...], offset: int) -> int:
    """The 1-based line of the character at `offset`."""
    return bisect_right(starts, offset)


class PromptWriter:
    """Writes what the policy reads: for rollouts, for evaluation and for SFT, the same way."""

    def __init__(self, tokenizer: Tokenizer, config: PromptConfig) -> None:
        self._tokenizer = tokenizer
        self._template = config.template

    def prompt(self, problem: Problem) -> str:
        """The statement in its template and the opening fence."""
        parts = {
            "{statement}": problem.statement.strip(),
            "{starter_code}": problem.starter_code.strip(),
        }
        # in one pass: a statement that speaks of "{starter_code}" is not a template
        text = _SLOT.sub(lambda slot: parts[slot[0]], self._template)
        return text.rstrip() + "\n" + OPENING_FENCE

    def encode(self, problem: Problem, start: StartPoint | None = None) -> tuple[Int32Array, str]:
        """Return prompt ids int32 [P] (prompt and given code) and the given code as text.

        The given tokens are those of one encoding of prompt + reference that end at or before
        the start point's cut: a token that straddles the cut, or the end of the prompt, is left
        to the policy, so the boundary only ever moves back.
        """
        prompt = self.prompt(problem)
        if start is not None and start.cut > 0:
            ids, spans = self._tokenizer.encode(prompt + problem.reference)
            inside = int(np.searchsorted(spans[:, 1], len(prompt) + start.cut, side="right"))
            given_end = int(spans[inside - 1, 1]) if inside else 0
            if given_end > len(prompt):
                return ids[:inside], problem.reference[: given_end - len(prompt)]
        return self._tokenizer.encode(prompt)[0], ""

    def request(
        self, problem: Problem, start: StartPoint, ticket: Ticket, sampling: SamplingConfig
    ) -> RolloutRequest:
        """What a sampler is asked for this ticket."""
        prompt_ids, given = self.encode(problem, start)
        return RolloutRequest(
            ticket=ticket,
            prompt_ids=prompt_ids,
            given=given,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_new_tokens,
        )

    def example(self, problem: Problem) -> SftExample:
        """The reference solution as an answer, closed by a fence and an end of sequence."""
        prompt = self.prompt(problem)
        # blank lines at the top would merge with the fence's line end into one token of the answer
        answer = problem.reference.lstrip("\r\n").rstrip() + "\n" + CLOSING_FENCE
        ids, spans = self._tokenizer.encode(prompt + answer)
        boundary = int(np.searchsorted(spans[:, 1], len(prompt), side="right"))
        eos = np.array([self._tokenizer.eos_id], dtype=np.int32)
        return SftExample(
            prompt_ids=ids[:boundary], completion_ids=np.concatenate([ids[boundary:], eos])
        )


def assemble(completion: Completion) -> Program:
    """Join given code and completion; the program ends at the first closing fence."""
    text = completion.text
    given = completion.request.given
    # a fence must open its line: the completion's first line may go on with a given one
    on_new_line = not given[line_starts(given + " ")[-1] :].strip(" \t")
    for fence in _FENCE.finditer(text):
        if fence.start() > 0 or on_new_line:
            code, span = fence.start(), fence.span(1)
            break
    else:
        code, span = len(text), (len(text), len(text))
    return Program(
        source=given + text[:code],
        given_chars=len(given),
        code_chars=code,
        fence_chars=span,
    )
