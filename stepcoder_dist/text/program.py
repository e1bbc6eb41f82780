"""The text that the policy reads, and the program that it wrote: prompt, given code, completion.

    statement, starter code │ ```python │ given code ┃ completion … │ ``` │ end of sequence
    ────────── prompt ──────────────────┘            ┃
    ───────────────── prompt_ids ────────────────────┃ token_ids

The given code is the start of the assistant's answer; the boundary ┃ is always between two
tokens of one encoding of prompt + reference, so a policy sees the tokens that it saw in SFT.
How a problem is worded is in prompt_templates.py.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stepcoder_dist.config import PromptConfig
from stepcoder_dist.ports import Tokenizer
from stepcoder_dist.records import (
    Int32Array,
    Problem,
    Program,
    RolloutRequest,
    SftExample,
    Ticket,
)
from stepcoder_dist.text.open_string import ends_in_string
from stepcoder_dist.text.prompt_templates import STYLES, TASKS, Frame, Task, filled

OPENING_FENCE = "```python\n"
CLOSING_FENCE = "```"

MOST_PROMPTS = 16_384
"""Prompts that a writer keeps: 20 MB of tokens where each has 300."""

# Python's own line ends. str.splitlines() also breaks at form feeds and Unicode separators,
# which Python's parser does not.
_LINE_END = re.compile(r"\r\n|\r|\n")
_FENCE = re.compile(r"```+")


def line_starts(source: str) -> tuple[int, ...]:
    """Return the offset of every line's first character; a final line end opens no further line."""
    if "\r" in source:
        starts = [0, *(end.end() for end in _LINE_END.finditer(source))]
    else:  # the usual case, five times as fast
        starts, end = [0], source.find("\n")
        while end >= 0:
            starts.append(end + 1)
            end = source.find("\n", end + 1)
    if len(starts) > 1 and starts[-1] == len(source):
        starts.pop()
    return tuple(starts)


def line_of(starts: tuple[int, ...], offset: int) -> int:
    """Return the 1-based line of the character at `offset`."""
    return bisect_right(starts, offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPoint:
    """Where the policy starts to write, in a program for one problem."""

    problem_id: str
    stage: int
    """0: nothing is given."""
    line: int
    """1-based line of the program at which the policy starts; 0: nothing is given."""
    cut: int
    """Characters of the program before that line; 0: nothing is given."""
    source: str = ""
    """The program, one that the policy wrote; empty: the problem's reference."""


class PromptWriter:
    """Writes what the policy reads: for rollouts, for evaluation and for SFT, the same way."""

    def __init__(
        self, tokenizer: Tokenizer, config: PromptConfig, frame: Frame | None = None
    ) -> None:
        """`frame` is the text around the task where `config.style` is `chat`."""
        self._tokenizer = tokenizer
        self._task = Task(text=config.template) if config.template else TASKS[config.task]
        self._frame = frame or STYLES[config.style]
        ends = tokenizer.encode(self._frame.end)[0][:1].tolist() if self._frame.end else []
        # the turn's own end, where it is a token that ends a sampled answer too
        self._end_id = next((i for i in ends if i in tokenizer.eos_ids), tokenizer.eos_id)
        self._written: OrderedDict[tuple[str, StartPoint | None], tuple[Int32Array, str]]
        self._written = OrderedDict()
        """What `encode` returned, by its arguments, for `requests`."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end an evaluated program, as a closing fence does."""
        return self._task.stop

    def prompt(self, problem: Problem) -> str:
        """Return the problem as its task words it, in the style's frame, and the opening fence."""
        return self._text(problem)[0]

    def encode(self, problem: Problem, start: StartPoint | None = None) -> tuple[Int32Array, str]:
        """Return prompt ids int32 [P] (prompt and given code) and the given code as text.

        The given tokens are those of the encoding of prompt + program that end at or before
        the start point's cut: a token that straddles it is left to the policy, so the boundary
        only ever moves back. Where the curriculum gives nothing, the task's opening is given.
        """
        opening, answer = self._opening(problem), self._answer(problem)
        cut = len(opening)
        if start is not None and start.cut > cut:
            answer, cut = start.source or problem.reference, start.cut
        elif not answer.startswith(opening):
            answer = opening
        if cut:
            ids, spans, end = self._ids(problem, answer)
            inside = int(np.searchsorted(spans[:, 1], end + cut, side="right"))
            given_end = int(spans[inside - 1, 1]) if inside else 0
            if given_end > end:
                return ids[:inside], answer[: given_end - end]
        return self._ids(problem)[0], ""

    def _text(self, problem: Problem) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Return the prompt, and the ranges of it that come from the problem."""
        values = {
            "{statement}": problem.statement.strip(),
            "{starter_code}": problem.starter_code.strip(),
        }
        words = self._task.text
        if self._task.without_starter and not values["{starter_code}"]:
            words = self._task.without_starter
        task, ranges = filled(words, values)
        task = task.rstrip()
        before = self._frame.before
        at = len(before)
        literal = tuple((at + a, at + min(b, len(task))) for a, b in ranges if a < len(task))
        text = before + task + self._frame.after if before or task else ""
        return text + self._task.answer + OPENING_FENCE, literal

    def _opening(self, problem: Problem) -> str:
        values = {
            "{statement}": problem.statement.lstrip("\r\n").rstrip(),
            "{starter_code}": problem.starter_code.lstrip("\r\n").rstrip(),
        }
        return filled(self._task.opening, values)[0]

    @staticmethod
    def _answer(problem: Problem) -> str:
        """Return the reference as the policy would write it: right after the fence's line end."""
        return problem.reference.lstrip("\r\n")

    def _ids(
        self, problem: Problem, answer: str = "", apart: Sequence[int] = ()
    ) -> tuple[Int32Array, Int32Array, int]:
        """Return ids int32 [n] and spans int32 [n, 2] of prompt + answer, and the prompt's end.

        What comes from the problem or from a solution is never read as a special token: it cannot
        end a turn.
        """
        prompt, literal = self._text(problem)
        end = len(prompt)
        ranges = (*literal, (end, end + len(answer)))
        ids, spans = self._tokenizer.encode(prompt + answer, ranges, apart)
        begin = () if self._frame.begins else self._tokenizer.bos_ids
        ids = np.concatenate([np.array(begin, dtype=np.int32), ids])
        spans = np.concatenate([np.zeros((len(begin), 2), dtype=np.int32), spans])
        return ids, spans, end

    def requests(
        self,
        problem: Problem,
        start: StartPoint | None,
        tickets: Sequence[Ticket],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> list[RolloutRequest]:
        """Return the requests for a group's tickets: they share one prompt, encoded once.

        It is kept for the problem's next turn, where that begins at the same place.
        """
        key = problem.problem_id, start
        if key not in self._written:
            while len(self._written) >= MOST_PROMPTS:
                self._written.popitem(last=False)
            self._written[key] = self.encode(problem, start)
        prompt_ids, given = self._written[key]
        return [
            RolloutRequest(
                ticket=ticket,
                prompt_ids=prompt_ids,
                given=given,
                temperature=temperature,
                top_p=top_p,
                max_new_tokens=max_new_tokens,
            )
            for ticket in tickets
        ]

    def example(self, problem: Problem) -> SftExample:
        """Return the reference solution as an answer that ends with a fence and an end of sequence.

        The prompt has the tokens that `encode` gives where nothing of the reference is given. If
        the one encoding of prompt + answer has others (a token that joins the fence's line end
        and the first word), the answer is encoded by itself: no policy could write that token.
        """
        answer = self._answer(problem).rstrip() + "\n" + CLOSING_FENCE
        own, given = self.encode(problem)
        if not answer.startswith(given):
            own, given = self._ids(problem)[0], ""
        ids, spans, end = self._ids(problem, answer)
        begun = end + len(given)
        parted = len(ids) > len(own) and spans[len(own), 0] >= begun
        if parted and np.array_equal(ids[: len(own)], own):
            rest = ids[len(own) :]
        else:
            ids, spans, _ = self._ids(problem, answer, apart=(begun,))
            rest = ids[spans[:, 0] >= begun]
        end_id = np.array([self._end_id], dtype=np.int32)
        return SftExample(prompt_ids=own, completion_ids=np.concatenate([rest, end_id]))


def assemble(given: str, text: str, stop: Sequence[str] = ()) -> Program:
    """Join the given code and a completion's text.

    The program ends at the first closing fence outside of a string, or before the first of the
    `stop` strings.
    """
    # a fence must open its line: the completion's first line may continue a given one
    on_new_line = not given[max(given.rfind("\n"), given.rfind("\r")) + 1 :].strip(" \t")
    for fence in _FENCE.finditer(text):
        begin = len(text[: fence.start()].rstrip(" \t"))
        opens_line = text[begin - 1] in "\n\r" if begin else on_new_line
        if opens_line and not ends_in_string(given + text[:begin]):
            code, span = begin, fence.span()
            break
    else:
        code, span = len(text), (len(text), len(text))
    for found in (text.find(each) for each in stop):
        if 0 <= found < code:
            code, span = found, (found, found)
    return Program(
        source=given + text[:code],
        given_chars=len(given),
        code_chars=code,
        fence_chars=span,
    )
