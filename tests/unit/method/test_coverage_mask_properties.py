"""FGO by hypothesis: random programs, three tokenizers, any start point.

The expected mask comes from an oracle that runs a copy of the program with a call in front of
every statement: it knows statements and blocks, no lines, no byte code, no tracing.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from guest_lines import PYTHON_3_13, Seen, look, look_here
from hypothesis import HealthCheck, given, settings, strategies as st
from programs_for_tests import Generated, generate
from tokenizers_for_tests import FAMILIES, tokenizer

from stepcoder_dist.config import CreditConfig
from stepcoder_dist.method.credit import credited_tokens
from stepcoder_dist.method.reward import reward
from stepcoder_dist.records import (
    Completion,
    Outcome,
    TestResult,
    Ticket,
    Verdict,
)
from stepcoder_dist.text.program import assemble, line_starts
from stepcoder_dist.text.token_lines import token_lines
from stepcoder_dist.text.tokenization import FolderTokenizer

TICKET = Ticket(sample_id="s0-0-0", group="g", problem_id="p/1", stage=0, seed=7, planned_step=0)
VISIBLE = re.compile(r"\S")
PROSE = "\n\nIt works: 变.\n"


def sampled(given_code: str, text: str, t: FolderTokenizer, *, ended: bool) -> Completion:
    """A completion as an engine would give it back, the end of sequence included."""
    ids, spans = t.encode(text)
    if ended:
        ids = np.append(ids, np.int32(t.eos_id))
        spans = np.append(spans, np.array([[len(text)] * 2], dtype=np.int32), axis=0)
    program = assemble(given_code, text)
    return Completion(
        sample_id="s",
        text=text,
        token_ids=ids,
        char_spans=spans,
        program=program,
        token_lines=token_lines(program, text, spans, ended=ended),
        logprobs=np.zeros(len(ids), dtype=np.float32),
        ended=ended,
        oldest_weights=0,
        newest_weights=0,
    )


def seen_here(program: Generated) -> Seen:
    """Under this Python. 3.11 (the `process` backend's) now and then reports a line that did not
    run: some of its clean-up code carries the line of an earlier statement. That is no matter of
    the mask, so such lines are left out; from 3.12 on nothing is.
    """
    seen = look_here(program.source)
    if sys.version_info >= (3, 12):
        return seen
    starts = (*line_starts(program.source), len(program.source))
    idle = {
        line
        for line in seen.executed
        if line and False in program.kept[starts[line - 1] : starts[line]]
    }
    return replace(seen, executed=seen.executed - idle)


def verdict(seen: Seen, *, trusted: bool = True) -> Verdict:
    return Verdict(
        outcome=Outcome.WRONG_ANSWER,
        tests=(TestResult(outcome=Outcome.WRONG_ANSWER, executed_lines=seen.executed),),
        structure=seen.structure,
        coverage_trusted=trusted,
        wall_ms=1.0,
    )


def fate_of(program: Generated, config: CreditConfig) -> Callable[[int], bool]:
    """Whether the visible character at an offset of the source is kept."""

    def fate(offset: int) -> bool:
        kept = program.kept[offset]
        if kept is not None:
            return kept
        return {"block": program.in_block[offset], "keep": True, "mask": False}[config.comments]

    return fate


def expected_mask(
    program: Generated, cut: int, completion: Completion, fence: int, config: CreditConfig
) -> list[bool]:
    """Token by token, from the characters' fates. `fence`: where it begins in the text, or −1."""
    fate, text, mask = fate_of(program, config), completion.text, []
    fence_end = fence + 3 if fence >= 0 else -1
    for start, end in completion.char_spans.tolist():
        if start == end == len(text) and completion.ended:
            mask.append(True)
            continue
        if fence >= 0 and start < fence_end and end > fence:
            mask.append(True)
            continue
        found = VISIBLE.search(text, start)
        at = found.start() if found else len(text.rstrip()) - 1
        if fence >= 0 and at >= fence:
            mask.append(at < fence_end or config.prose == "keep")
        elif at >= 0:
            mask.append(fate(cut + at))
        else:  # nothing visible was written: with what was given
            mask.append(fate(len(program.source[:cut].rstrip()) - 1))
    return mask


def check(program: Generated, seen: Seen, draw: Callable[[int, int], int]) -> None:
    """Every family of tokenizer, one start point, one configuration."""
    first_visible = VISIBLE.search(program.source)
    assert first_visible is not None
    cut = draw(0, len(program.source) - 1)
    if first_visible.start() >= cut:
        cut = 0
    config = CreditConfig(
        comments=("block", "keep", "mask")[draw(0, 2)],  # type: ignore[arg-type]
        prose=("mask", "keep")[draw(0, 1)],  # type: ignore[arg-type]
    )
    ending = ("", "```", "```" + PROSE)[draw(0, 2)]
    text = program.source[cut:] + ending
    fence = len(program.source) - cut if ending else -1
    for family in FAMILIES:
        completion = sampled(program.source[:cut], text, tokenizer(family), ended=bool(ending))
        assert completion.program.source == program.source
        mask = credited_tokens(completion, verdict(seen), config).rewarded
        assert mask.tolist() == expected_mask(program, cut, completion, fence, config), family
        # what switches the mask off keeps everything, and coverage never changes the reward
        for off in (CreditConfig(rule="all"), config):
            judged = verdict(seen, trusted=off.rule == "all")
            assert credited_tokens(completion, judged, off).rewarded.all()
        assert reward(verdict(seen)) == reward(verdict(seen, trusted=False)) == -0.3


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_every_token_has_the_fate_of_its_statement(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    program = generate(draw)
    check(program, seen_here(program), draw)


SEEDS = 250


@cache
def programs() -> list[Generated]:
    return [generate(random.Random(seed).randint) for seed in range(SEEDS)]


def test_larger_programs_from_a_fixed_list_of_seeds() -> None:
    for seed, program in enumerate(programs()):
        check(program, seen_here(program), random.Random(seed).randint)


def test_the_same_under_python_3_13() -> None:
    answers = look([program.source for program in programs()], PYTHON_3_13)
    for seed, (program, seen) in enumerate(zip(programs(), answers, strict=True)):
        assert seen is not None
        check(program, seen, random.Random(seed).randint)


def test_the_programs_hold_what_they_are_meant_to_hold() -> None:
    """Otherwise the tests above would prove nothing."""
    sources = [program.source for program in programs()]
    fates = [kept for program in programs() for kept in program.kept]
    assert 0.2 < fates.count(True) / (fates.count(True) + fates.count(False)) < 0.8
    assert fates.count(None) > 1000
    pieces = ("\r\n", "\t", "变", "'''", "finally:", "elif", "else:", "except ValueError:")
    pieces += ("class A(", "global g", "return 1", "raise ValueError", "while", "with (")
    for piece in pieces:
        assert sum(piece in source for source in sources) > 10, piece
