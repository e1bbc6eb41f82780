"""Prompt, given code and completion (DESIGN §4): the token boundary, the fence, the lines."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from tokenizers_for_tests import EOS, FAMILIES, tokenizer

from stepcoder_dist.config import PromptConfig
from stepcoder_dist.records import Int32Array, Problem, TestSuite, Ticket
from stepcoder_dist.text.program import PromptWriter, StartPoint, assemble, line_of, line_starts

TICKET = Ticket(sample_id="s0-0-0", group="g", problem_id="p/1", stage=0, seed=7, planned_step=0)

REFERENCE = (
    "n = int(input())\n"
    "if n % 2 == 0:\n"
    "    n = n + 3\n"
    "    for i in range(n):\n"
    "        print(i)\n"
    "else:\n"
    "    n = n - 4\n"
)


class Marks:
    """A tokenizer whose tokens are written out by hand, separated by `|`."""

    def __init__(self, pieces: str) -> None:
        self.pieces = pieces.split("|")

    bos_ids = ()

    def encode(
        self, text: str, literal: Sequence[tuple[int, int]] = (), _apart: Sequence[int] = ()
    ) -> tuple[Int32Array, Int32Array]:
        assert all(a <= b <= len(text) for a, b in literal)
        ends = np.cumsum([len(p) for p in self.pieces])
        inside = int(np.searchsorted(ends, len(text), side="right"))
        spans = np.stack([ends - [len(p) for p in self.pieces], ends], axis=1)[:inside]
        return np.arange(inside, dtype=np.int32), spans.astype(np.int32)

    @property
    def eos_id(self) -> int:
        return 99

    @property
    def eos_ids(self) -> frozenset[int]:
        return frozenset({99})


def problem(reference: str = REFERENCE, statement: str = "Do it.", starter: str = "") -> Problem:
    return Problem(
        problem_id="p/1",
        statement=statement,
        reference=reference,
        level="introductory",
        tests=TestSuite(inputs=("",), outputs=("",)),
        starter_code=starter,
    )


def cut_at(cut: int) -> StartPoint:
    return StartPoint(problem_id="p/1", stage=1 if cut else 0, line=1, cut=cut)


# ---------------------------------------------------------------- what the policy reads


def test_the_prompt_ends_in_the_opening_fence() -> None:
    writer = PromptWriter(tokenizer("byte-level BPE"), PromptConfig())
    assert writer.prompt(problem(starter="def f(x):\n")) == "Do it.\ndef f(x):\n```python\n"
    assert writer.prompt(problem()) == "Do it.\n```python\n"


def test_a_statement_that_speaks_of_a_slot_is_no_template() -> None:
    writer = PromptWriter(tokenizer("byte-level BPE"), PromptConfig())
    text = writer.prompt(problem(statement="Print {starter_code} {x}.", starter="pass"))
    assert text == "Print {starter_code} {x}.\npass\n```python\n"


def test_at_stage_0_the_policy_reads_the_prompt_and_the_fence_only() -> None:
    t = tokenizer("byte-level BPE")
    writer = PromptWriter(t, PromptConfig())
    for start in (None, cut_at(0)):
        ids, text = writer.encode(problem(), start)
        assert text == ""
        assert t.decode(ids) == "Do it.\n```python\n"


def test_a_request_carries_the_ticket_the_given_code_and_the_sampling() -> None:
    t = tokenizer("word pieces")
    writer = PromptWriter(t, PromptConfig())
    sampling = {"temperature": 0.7, "top_p": 0.8, "max_new_tokens": 33}
    cut = REFERENCE.index("    for")
    (request,) = writer.requests(problem(), cut_at(cut), [TICKET], **sampling)
    assert request.ticket is TICKET
    assert (request.temperature, request.top_p, request.max_new_tokens) == (0.7, 0.8, 33)
    assert t.decode(request.prompt_ids) == "Do it.\n```python\n" + request.given
    assert REFERENCE[:cut].startswith(request.given)


class Counting:
    """A tokenizer that counts what it is asked."""

    def __init__(self) -> None:
        self._real = tokenizer("word pieces")
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def encode(self, *arguments: Any) -> Any:
        self.calls += 1
        return self._real.encode(*arguments)


def test_the_requests_of_a_group_share_one_prompt_that_is_encoded_once() -> None:
    counting = Counting()
    tickets = [replace(TICKET, sample_id=f"s0-0-{i}", seed=i) for i in range(16)]
    cut = cut_at(REFERENCE.index("    for"))
    requests = PromptWriter(counting, PromptConfig()).requests(
        problem(), cut, tickets, temperature=1.0, top_p=1.0, max_new_tokens=8
    )
    assert counting.calls == 1
    assert [request.ticket for request in requests] == tickets
    assert all(request.prompt_ids is requests[0].prompt_ids for request in requests)
    # pickled together, as on the way to an actor, the prompt is there once
    (first, *others) = pickle.loads(pickle.dumps(requests))
    assert all(request.prompt_ids is first.prompt_ids for request in others)


PROMPT = "P\n```python\n"


@pytest.mark.parametrize(
    ("pieces", "cut", "count", "text"),
    [
        # a token that ends exactly at the cut is given
        ("P\n|```python\n|a = 1\n|if a:\n|    b", 6, 3, "a = 1\n"),
        # one that straddles it is the policy's, and so the given code ends before it
        ("P\n|```python\n|a = 1|\nif| a:\n|    b", 6, 3, "a = 1"),
        ("P\n|```python\n|a =| 1\nif a|:\n|    b", 6, 3, "a ="),
        # the boundary can fall back over more than one line
        ("P\n|```python\n|a|\n\n\nif a|:\n|    b", 4, 3, "a"),
        # nothing given: the token straddles the end of the prompt too
        ("P\n|```python\n|a = 1\nif a|:\n|    b", 6, 2, ""),
        # a token that joins the fence's line end and the code counts by its own end
        ("P\n|```python|\na = 1\n|if a|:\n|    b", 6, 3, "a = 1\n"),
        # several tokens that share one character go together
        ("P\n|```python\n|é|||\n|if a:", 2, 6, "é\n"),
        ("P\n|```python\n|a|é|||\n|if a:", 1, 3, "a"),
    ],
)
def test_given_tokens_end_at_or_before_the_cut(
    pieces: str, cut: int, count: int, text: str
) -> None:
    marks = Marks(pieces)
    reference = pieces.replace("|", "")[len(PROMPT) :]
    writer = PromptWriter(marks, PromptConfig())
    ids, given_code = writer.encode(problem(reference, statement="P"), cut_at(cut))
    assert given_code == text
    assert ids.tolist() == list(range(count))


def test_tokens_that_share_a_character_are_never_parted() -> None:
    class Bytes(Marks):
        """Two tokens for the one character at 13, as a byte-level tokenizer has them."""

        def encode(
            self, text: str, literal: Sequence[tuple[int, int]] = (), _apart: Sequence[int] = ()
        ) -> tuple[Int32Array, Int32Array]:
            ids, spans = super().encode(text, literal)
            if len(text) > len(PROMPT):
                spans[3] = (13, 14)
                spans[4] = (13, 14)
            return ids, spans

    writer = PromptWriter(Bytes("P\n|```python\n|a||é|\n|if a:"), PromptConfig())
    reference = "aé\nif a:"
    assert writer.encode(problem(reference, "P"), cut_at(1))[1] == "a"
    ids, text = writer.encode(problem(reference, "P"), cut_at(2))
    assert (ids.tolist(), text) == ([0, 1, 2, 3, 4], "aé")


lines = st.lists(
    st.sampled_from(
        [
            "n = int(input())",
            "if n % 2 == 0:",
            "    n = n + 3",
            "    if x:",
            "\tif x:",
            "        for i in range(n):",
            "else:",
            "",
            "    ",
            "s = '变量 😀é'",
            "t = '''a",
            "# ## note ```",
            "print(n)",
        ]
    ),
    max_size=12,
)
references = st.builds(
    lambda body, end, last: end.join(body) + (end if last else ""),
    lines,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)


@pytest.mark.parametrize("family", FAMILIES)
@given(reference=references, data=st.data())
def test_the_boundary_is_exact_for_any_cut(
    family: str, reference: str, data: st.DataObject
) -> None:
    t = tokenizer(family)
    starts = [s for s in line_starts(reference) if s < len(reference)] or [0]
    cut = data.draw(st.sampled_from(starts) | st.integers(0, len(reference)), label="cut")
    prompt = "Do it.\n```python\n"
    ids, text = PromptWriter(t, PromptConfig()).encode(problem(reference), cut_at(cut))

    assert reference[:cut].startswith(text)  # the boundary only moves back
    assert t.decode(ids) == prompt + text  # what is read is what is joined to the completion
    if not text:
        assert ids.tolist() == t.encode(prompt)[0].tolist()
        return
    whole, spans = t.encode(prompt + reference)
    assert ids.tolist() == whole[: len(ids)].tolist()  # tokens of the one encoding
    if len(ids) < len(whole):  # and not one too few: the next token passes the cut
        assert spans[len(ids)][1] > len(prompt) + cut


@pytest.mark.parametrize("family", FAMILIES)
def test_some_cut_does_fall_inside_a_token(family: str) -> None:
    """Otherwise the tests above would prove nothing."""
    t = tokenizer(family)
    moved = 0
    for cut in line_starts(REFERENCE)[1:]:
        _, text = PromptWriter(t, PromptConfig()).encode(problem(), cut_at(cut))
        moved += text != REFERENCE[:cut]
    assert moved > 0


@pytest.mark.parametrize("family", FAMILIES)
@given(reference=references)
@example(reference="\n\n\nx = 1\n")
@example(reference="\r\nx = 1")
@example(reference="")
def test_an_sft_example_is_the_prompt_of_stage_0_and_the_fenced_reference(
    family: str, reference: str
) -> None:
    t = tokenizer(family)
    writer = PromptWriter(t, PromptConfig())
    sft = writer.example(problem(reference))
    assert sft.completion_ids[-1] == t.eos_id
    body = reference.lstrip("\r\n").rstrip()
    prompt, answer = "Do it.\n```python\n", f"{body}\n```{EOS}"
    assert sft.prompt_ids.tolist() == writer.encode(problem(reference))[0].tolist()
    assert t.decode(sft.prompt_ids) == prompt
    assert t.decode(sft.completion_ids) == answer


# ---------------------------------------------------------------- the program that it wrote


@pytest.mark.parametrize(
    ("given_code", "text", "source", "code_chars", "fence"),
    [
        ("", "x = 1\n```", "x = 1\n", 6, (6, 9)),
        ("", "x = 1\n```\nThis prints.\n", "x = 1\n", 6, (6, 9)),
        ("", "x = 1\n```\n```python\ny\n```", "x = 1\n", 6, (6, 9)),
        ("", "x = 1\n    ```", "x = 1\n", 6, (10, 13)),
        ("", "x = 1\n\t```", "x = 1\n", 6, (7, 10)),
        ("", "x = 1\n````\n", "x = 1\n", 6, (6, 10)),
        ("", "x = 1\n```python\n", "x = 1\n", 6, (6, 9)),
        ("", "x = 1\r\n```\r\n", "x = 1\r\n", 7, (7, 10)),
        ("", "x = 1\r```", "x = 1\r", 6, (6, 9)),
        ("", "```", "", 0, (0, 3)),
        ("", "  ```", "", 0, (2, 5)),
        ("", "\n```", "\n", 1, (1, 4)),
        ("", "", "", 0, (0, 0)),
        # cut at the length limit: no fence
        ("", "x = 1\nprint(", "x = 1\nprint(", 12, (12, 12)),
        # two backticks, or a fence that does not open its line, are code
        ("", "x = 1\n``", "x = 1\n``", 8, (8, 8)),
        ("", "s = '```'\n# ```\n```", "s = '```'\n# ```\n", 16, (16, 19)),
        # a fence inside of a string is a part of the program
        ("", "d = '''\n```\n'''\n```\ny", "d = '''\n```\n'''\n", 16, (16, 19)),
        (
            "",
            'd = r"""\n\'\n```\n"""  # \'\'\'\n```',
            'd = r"""\n\'\n```\n"""  # \'\'\'\n',
            26,
            (26, 29),
        ),
        ("", "d = \"'''\"\n```\n", "d = \"'''\"\n", 10, (10, 13)),
        ("", "d = 'it\\'s'\n```", "d = 'it\\'s'\n", 12, (12, 15)),
        ("d = f'''\n", "```\n'''\n```", "d = f'''\n```\n'''\n", 8, (8, 11)),
        ("", 'd = """\\"""\n```\n"""\n```', 'd = """\\"""\n```\n"""\n', 20, (20, 23)),
        # U+2028 and form feed end no line of Python
        ("", "# \u2028```\n```", "# \u2028```\n", 7, (7, 10)),
        ("", "# \x0c```\n```", "# \x0c```\n", 7, (7, 10)),
        # given code that ends its line: the first line may be the fence
        ("a = 1\n", "```\n", "a = 1\n", 0, (0, 3)),
        ("a = 1\r\n", "  ```", "a = 1\r\n", 0, (2, 5)),
        ("a = 1\r", "```", "a = 1\r", 0, (0, 3)),
        # given code that ends in mid-line: its line goes on
        ("s = '", "```'\nx\n```", "s = '```'\nx\n", 7, (7, 10)),
        ("# ", "```\nx\n```", "# ```\nx\n", 6, (6, 9)),
        ("# ", "  ```", "#   ```", 5, (5, 5)),
        ("if a", ":\n    x\n```", "if a:\n    x\n", 8, (8, 11)),
        # given code that ends in a piece of an indent: still nothing but white space before it
        ("a = 1\n    ", "```", "a = 1\n    ", 0, (0, 3)),
        ("\t", " ```", "\t", 0, (1, 4)),
        # a CRLF that the boundary parts
        ("a = 1\r", "\n```", "a = 1\r\n", 1, (1, 4)),
        ("a = 1", "\r\n```", "a = 1\r\n", 2, (2, 5)),
    ],
)
def test_the_program_ends_at_the_first_fence_that_opens_a_line(
    given_code: str, text: str, source: str, code_chars: int, fence: tuple[int, int]
) -> None:
    program = assemble(given_code, text)
    assert program.source == source
    assert program.given_chars == len(given_code)
    assert program.code_chars == code_chars
    assert program.fence_chars == fence


@given(
    st.text("ab`\n\r\t '", max_size=30),
    st.text("a \n\r`", max_size=6),
)
def test_source_is_given_code_and_code_and_holds_no_fence_of_the_policys(
    text: str, given_code: str
) -> None:
    program = assemble(given_code, text)
    assert program.source == given_code + text[: program.code_chars]
    start, end = program.fence_chars
    assert program.code_chars <= start <= end <= len(text)
    assert text[program.code_chars : start].strip(" \t") == ""
    written = program.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = given_code.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    for number, line in enumerate(written):
        # the given code's own lines are the reference's, whatever they hold
        if number > first:
            assert not line.strip(" \t").startswith("```")
    if start < end:
        assert set(text[start:end]) == {"`"}
        assert end - start >= 3


# ---------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("source", "starts"),
    [
        ("", (0,)),
        ("a", (0,)),
        ("a\n", (0,)),
        ("\n", (0,)),
        ("\n\n", (0, 1)),
        ("a\nb", (0, 2)),
        ("a\nb\n", (0, 2)),
        ("a\r\nb\r\n", (0, 3)),
        ("a\rb\r", (0, 2)),
        ("a\n\rb", (0, 2, 3)),
        ("a\r\r\nb", (0, 2, 4)),
        ("a\x0cb\x0b\x1c\x1d\x1e\x85\u2028\u2029c", (0,)),
        ("'\u2028'\n\x0cb", (0, 4)),
    ],
)
def test_lines_end_where_pythons_lines_end(source: str, starts: tuple[int, ...]) -> None:
    assert line_starts(source) == starts


@given(st.text("a\n\r\x0c\u2028", max_size=20))
def test_lines_agree_with_pythons_own_count(body: str) -> None:
    # in a string over several lines Python counts every physical line
    source = f"'''{body}'''\nlast\n"
    starts = line_starts(source)
    code = compile(source, "<test>", "exec")
    assert max(line for *_, line in code.co_lines() if line) == len(starts)
    assert source[starts[-1] :] == "last\n"


def test_a_line_end_belongs_to_the_line_that_it_ends() -> None:
    source = "ab\r\nc\n\nd"
    starts = line_starts(source)
    assert [line_of(starts, i) for i in range(len(source))] == [1, 1, 1, 1, 2, 2, 3, 4]
