"""FGO (DESIGN §4): masks written out token by token.

Here the structure of each program is written out too, so that only the map from lines to tokens
is on trial. What the guest's Python makes of a source is in test_line_structure.py, and both
together, on generated programs, in test_coverage_mask_properties.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from stepcoder_dist.config import CreditConfig
from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.method.credit import credited_tokens
from stepcoder_dist.records import (
    Completion,
    LineStructure,
    Outcome,
    TestResult,
    Ticket,
    Verdict,
)
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines

TICKET = Ticket(sample_id="s0-0-0", group="g", problem_id="p/1", stage=0, seed=7, planned_step=0)


def structure(follows: Iterable[Iterable[int]], comments: Iterable[int] = ()) -> LineStructure:
    entries = tuple(tuple(lines) for lines in follows)
    return LineStructure(
        code_lines=frozenset(line for entry in entries for line in entry),
        follows=entries,
        comment_lines=frozenset(comments),
    )


def sampled(
    tokens: str, *, ended: bool = True, spans: list[list[int]] | None = None, given: str = ""
) -> Completion:
    """A completion from its tokens, separated by `|`; an end of sequence follows if `ended`."""
    pieces = tokens.split("|")
    text = "".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces]).tolist()
    if spans is None:
        spans = [[end - len(piece), end] for piece, end in zip(pieces, ends, strict=True)]
    if ended:
        spans = [*spans, [len(text), len(text)]]
    char_spans = np.array(spans, dtype=np.int32).reshape(-1, 2)
    program = assemble(given, text)
    return Completion(
        sample_id="s",
        text=text,
        token_ids=np.arange(len(spans), dtype=np.int32),
        char_spans=char_spans,
        program=program,
        token_lines=token_lines(program, text, char_spans, ended=ended),
        logprobs=np.zeros(len(spans), dtype=np.float32),
        ended=ended,
        oldest_weights=0,
        newest_weights=0,
    )


def verdict(shape: LineStructure | None, *executed: Iterable[int], trusted: bool = True) -> Verdict:
    """One test for each set of executed lines."""
    outcome = Outcome.WRONG_ANSWER if shape else Outcome.COMPILE_ERROR
    return Verdict(
        outcome=outcome,
        tests=tuple(
            TestResult(outcome=outcome, executed_lines=frozenset(lines)) for lines in executed
        ),
        structure=shape,
        coverage_trusted=trusted,
        wall_ms=1.0,
    )


def marks(
    completion: Completion,
    shape: LineStructure,
    *executed: Iterable[int],
    **config: Any,
) -> str:
    """The mask as text: `+` kept, `-` masked."""
    mask = credited_tokens(completion, verdict(shape, *executed), CreditConfig(**config)).rewarded
    assert mask.dtype == np.bool_
    assert mask.shape == completion.token_ids.shape
    return "".join("+" if kept else "-" for kept in mask)


# if a: / x = 1 / else: / x = 2 / print(x), one line each
BRANCHES = structure([[1], [2], [4], [4], [5]])
BRANCH_TOKENS = "if| a|:|\n   | x| =| 1|\n|else|:|\n   | x| = |2|\n|print|(x)|\n|```"


def test_the_branch_that_did_not_run_is_masked_with_its_else() -> None:
    #     if a : ⏎x  = 1 ⏎ else : ⏎x = 2 ⏎ print (x) ⏎ ``` eos
    assert marks(sampled(BRANCH_TOKENS), BRANCHES, [1, 2, 5]) == (
        "+++"  # if a :
        "+"  # ⏎ and the indent, before x on line 2
        "+++"  # x = 1
        "-"  # ⏎ before else
        "--"  # else :
        "-"  # ⏎ and the indent, before x on line 4
        "---"  # x = 2
        "+"  # ⏎ before print
        "++"  # print (x)
        "+"  # ⏎ before the fence
        "+"  # the fence
        "+"  # end of sequence
    )


def test_the_union_over_the_tests_decides() -> None:
    assert marks(sampled(BRANCH_TOKENS), BRANCHES, [1, 2, 5], [1, 4, 5]) == "+" * 20
    assert marks(sampled(BRANCH_TOKENS), BRANCHES, [1, 4], []) == ("+++----+++++++---+++")


def test_a_token_that_straddles_two_lines_belongs_to_the_line_of_its_first_visible_character() -> (
    None
):
    shape = structure([[1], [2], [3]])
    # the last token of line 1 reaches into line 2; the one after begins with a line end
    tokens = "if a:\n    re|turn 1|\nx =| 2"
    assert marks(sampled(tokens), shape, [1, 3]) == "+-+++"
    assert marks(sampled(tokens), shape, [2]) == "-+--+"


def test_a_token_of_white_space_follows_the_next_visible_character() -> None:
    shape = structure([[1], [1], [3], [4]])
    tokens = "a:| |\n|\n|    |b|\n    |\t |c"
    assert marks(sampled(tokens), shape, [3]) == "-+++++---+"
    assert marks(sampled(tokens), shape, [4]) == "------++++"


def test_other_white_space_is_white_space_too() -> None:
    shape = structure([[1], [2]])
    assert marks(sampled("a\n|\x0c|\u00a0|b"), shape, [2]) == "-++++"


def test_white_space_at_the_end_of_a_cut_program_goes_with_what_was_written_last() -> None:
    shape = structure([[1], [2], [2]])
    cut = sampled("a:|\n    b|\n|   ", ended=False)
    assert marks(cut, shape, [1]) == "+---"
    assert marks(cut, shape, [1, 2]) == "++++"


def test_white_space_alone_goes_with_the_given_code() -> None:
    shape = structure([[1], [2], [2]])
    cut = sampled("\n|\n", ended=False, given="if a:\n    b")
    assert marks(cut, shape, [1]) == "--"
    assert marks(cut, shape, [1, 2]) == "++"


def test_the_end_of_sequence_is_kept_whatever_was_executed() -> None:
    shape = structure([[1], [2]])
    assert marks(sampled("a|\nb"), shape) == "--+"
    assert marks(sampled("a|\nb", ended=False), shape) == "--"
    only_eos = sampled("", spans=[], ended=True)
    assert marks(only_eos, structure([[]]), []) == "+"


def test_every_token_with_a_piece_of_the_closing_fence_is_kept() -> None:
    shape = structure([[1]])
    assert marks(sampled("a|\n|`|``"), shape) == "-++++"
    assert marks(sampled("a|\n```|\n"), shape) == "-+++"
    assert marks(sampled("a\n``|`\n"), shape) == "+++"
    assert marks(sampled("a|\n|  |```"), shape) == "-++++"
    assert marks(sampled("a|\r\n|````|\r\n"), shape) == "-++++"


@pytest.mark.parametrize(("prose", "mark"), [("mask", "-"), ("keep", "+")])
def test_prose_after_the_fence(prose: str, mark: str) -> None:
    shape = structure([[1]])
    #                 a  ⏎```  ⏎⏎  It  works  .⏎  ⏎  eos
    tokens = sampled("a|\n```|\n\n|It| works|.\n|\n")
    assert marks(tokens, shape, [1], prose=prose) == "++" + mark * 5 + "+"
    # a word on the fence's own line is prose as well; the token that joins both is the fence's
    assert marks(sampled("a|\n```py|thon|\n"), shape, [1], prose=prose) == "++" + mark * 2 + "+"


def test_a_second_fence_is_prose() -> None:
    assert marks(sampled("a|\n```|\n```|python\n|b|\n```"), structure([[1]]), [1]) == "++----+"


# line 1 `def f():`, 2 a comment, 3 `return 1`, 4 blank, 5 a comment, 6 `print(2)`
COMMENTED = structure([[1], [3], [3], [1, 6], [1, 6], [6]], comments=[2, 4, 5])
COMMENT_TOKENS = "def f():|\n    #| why|\n    return 1|\n\n|# main|\nprint(2)"


@pytest.mark.parametrize(
    ("comments", "expected"),
    [("block", "+---++++"), ("keep", "+++-++++"), ("mask", "+-----++")],
)
def test_comments_follow_their_block_or_are_always_kept_or_never(
    comments: str, expected: str
) -> None:
    assert marks(sampled(COMMENT_TOKENS), COMMENTED, [1, 6], comments=comments) == expected


def test_a_comment_behind_code_is_part_of_its_statement_under_every_setting() -> None:
    shape = structure([[1], [2]])
    for comments in ("block", "keep", "mask"):
        assert marks(sampled("a| # b|\nc| # d"), shape, [2], comments=comments) == "--+++"


def test_a_program_that_does_not_compile_keeps_every_token() -> None:
    completion = sampled("if|\n```|\nprose")
    mask = credited_tokens(completion, verdict(None), CreditConfig()).rewarded
    assert mask.tolist() == [True] * 4


def test_untrusted_coverage_keeps_every_token() -> None:
    completion = sampled("import sys|\nb|\n```|\nprose")
    seen = verdict(structure([[1], [2]]), [1], trusted=False)
    mask = credited_tokens(completion, seen, CreditConfig()).rewarded
    assert mask.tolist() == [True] * 5


def test_the_rule_all_keeps_every_token() -> None:
    tokens = sampled("a|\nb|\n```|\nprose")
    assert marks(tokens, structure([[1], [2]]), [1], rule="all") == "+++++"


def test_executed_lines_without_byte_code_are_no_evidence() -> None:
    """A program can report any line number; only its own code's lines count."""
    shape = LineStructure(
        code_lines=frozenset({1}), follows=((1,), (2,), ()), comment_lines=frozenset()
    )
    assert marks(sampled("a|\nb|\nc"), shape, [1, 2, 3, 99]) == "+--+"


def test_given_code_that_ends_in_the_middle_of_a_block() -> None:
    given = "def f(x):\n    if x:\n"
    shape = structure([[1], [2], [3], [5], [5], [6]])
    tokens = sampled("        return| 1|\n    else:|\n        return 2|\nf(|1)", given=given)
    assert marks(tokens, shape, [1, 2, 3, 6]) == "++--+++"


def test_given_code_that_ends_in_the_middle_of_a_line() -> None:
    shape = structure([[1], [2]])
    tokens = sampled(" = 1|\n|y", given="x")
    assert marks(tokens, shape, [1]) == "+--+"
    assert marks(tokens, shape, [2]) == "-+++"


def test_given_code_that_ends_between_cr_and_lf() -> None:
    shape = structure([[1], [2]])
    tokens = sampled("\n|y\r|\n", given="x\r")
    assert marks(tokens, shape, [1], []) == "---+"
    assert marks(tokens, shape, [2]) == "++++"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_kind(end: str) -> None:
    shape = structure([[1], [2], [3]])
    tokens = sampled(f"a:|{end}|\tb|{end}c|{end}")
    assert marks(tokens, shape, [2]) == "-++-" + "-" + "+"


def test_form_feeds_and_unicode_separators_end_no_line() -> None:
    shape = structure([[1], [2]])
    assert marks(sampled("'\u2028|\x85|\x1c'|\n\x0c|b"), shape, [1]) == "+++--+"


def test_tokens_that_share_a_character_share_its_fate() -> None:
    shape = structure([[1], [2]])
    #                     '  变  变  变  '⏎  量  量  量
    spans = [[0, 1], [1, 2], [1, 2], [1, 2], [2, 4], [4, 5], [4, 5], [4, 5]]
    completion = sampled("'变'\n量", spans=spans)
    assert marks(completion, shape, [1]) == "+++++---+"
    assert marks(completion, shape, [2]) == "-----++++"


def test_a_token_that_prints_nothing_shares_the_fate_of_the_next() -> None:
    shape = structure([[1], [2]])
    completion = sampled("a\nb", spans=[[0, 1], [1, 2], [1, 2], [2, 3]])
    assert marks(completion, shape, [2]) == "-++++"


def test_a_statement_over_several_lines_has_one_fate() -> None:
    shape = structure([[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3], [5]])
    tokens = sampled("f(|\n    1,|\n    2,|\n)|\ng()")
    assert marks(tokens, shape, [2]) == "++++-+"
    assert marks(tokens, shape, [5]) == "----++"


def test_a_string_over_several_lines_has_one_fate_blank_lines_and_hashes_included() -> None:
    shape = structure([[1], [1], [1], [1], [5]])
    tokens = sampled("s = '''|\n# no comment|\n|\n|'''|\nt")
    for comments in ("block", "keep", "mask"):
        assert marks(tokens, shape, [1], comments=comments) == "+++++-+"
        assert marks(tokens, shape, [5], comments=comments) == "-----++"


def test_a_function_that_is_never_called_keeps_its_header_only() -> None:
    shape = structure([[1], [2], [3]])
    tokens = sampled("def f(|x):|\n    return x|\nprint(|1)|\n```")
    assert marks(tokens, shape, [1, 3]) == "++-++++"


def test_kept_lines_of_a_structure() -> None:
    assert kept_lines(COMMENTED, frozenset({1, 6})) == {1, 4, 5, 6}
    assert kept_lines(COMMENTED, frozenset({1, 6}), "keep") == {1, 2, 4, 5, 6}
    assert kept_lines(COMMENTED, frozenset({1, 6}), "mask") == {1, 6}
    assert kept_lines(COMMENTED, frozenset({1, 3, 6})) == {1, 2, 3, 4, 5, 6}
    assert kept_lines(COMMENTED, frozenset()) == frozenset()
    assert kept_lines(COMMENTED, frozenset({2, 4, 99})) == frozenset()
