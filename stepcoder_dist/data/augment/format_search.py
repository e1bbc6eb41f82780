"""The first format, of those that `input_format.py` can express, that explains every input.

The search is depth-first, line by line, over all inputs at once. A part that an earlier token
counts is tried before a part that just happens to have as many tokens. A choice that does not reach
the end of every input is taken back. A format is accepted only if it writes every input as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.data.augment.input_format import (
    MOST_PLAIN_ROWS,
    Cases,
    Counts,
    Format,
    Lines,
    Place,
    Row,
    Rows,
    Segment,
    Vector,
    Word,
    decimals_of,
    split,
    value_of,
)
from stepcoder_dist.errors import Unlike

_MOST_LINES = 20_000
_MOST_SEGMENTS = 8
_LONG = 6
"""A number with so many digits, whose length a token gave, is a word, even if seen only once."""


def infer(texts: Sequence[str]) -> Format | None:
    """Return the format of these inputs; None where none is found."""
    try:
        inputs = [split(text) for text in texts]
    except Unlike:
        return None
    if not inputs or sum(map(len, inputs)) > _MOST_LINES or _tree(inputs):
        return None
    endings = {"\n" if text.endswith("\n") else "" for text in texts}
    found = _explained(inputs, nested=False)
    if found is None:
        return None
    found = dataclasses.replace(found, ending="\n" if "\n" in endings else "")
    return found if all(_same(found, text) for text in texts) else None


def _tree(inputs: list[Lines]) -> bool:
    """Return whether these are a tree's edges or parents (n and n−1 lines); a change breaks it."""
    counts = [value_of(lines[0][0]) for lines in inputs]
    widths = {len(line) for lines in inputs for line in lines[1:]}
    return (
        widths.issubset({2, 3})
        and max((t for t in counts if isinstance(t, int)), default=0) > 2  # noqa: PLR2004
        and counts == [len(lines) for lines in inputs]
    )


def _same(found: Format, text: str) -> bool:
    try:
        return split(found.write(found.read(text))) == split(text)
    except Unlike:
        return False


def _explained(inputs: list[Lines], *, nested: bool) -> Format | None:
    if not nested and (cases := _cases(inputs)) is not None:
        return cases
    states = [_State(lines, 0, {}) for lines in inputs]
    for segments in _search(states, ()):
        return _without_counts(segments)
    return None


@dataclass(frozen=True)
class _State:
    """How far one input has been read."""

    lines: Lines
    at: int
    counts: Counts

    @property
    def done(self) -> bool:
        return self.at == len(self.lines)

    def after(self, segment: Segment) -> _State:
        """Raises `Unlike`."""
        counts = dict(self.counts)
        _, at = segment.read(self.lines, self.at, counts)
        return _State(self.lines, at, counts)


def _search(states: list[_State], chosen: tuple[Segment, ...]) -> Iterator[tuple[Segment, ...]]:
    if all(state.done for state in states):
        yield chosen
        return
    if len(chosen) == _MOST_SEGMENTS or any(state.done for state in states):
        return
    for segment in _options(states, len(chosen)):
        plain = [s for s in (*chosen, segment) if isinstance(s, Row)]
        if len(plain) > MOST_PLAIN_ROWS:
            continue
        try:
            after = [state.after(segment) for state in states]
        except Unlike:
            continue
        yield from _search(after, (*chosen, segment))


def _options(states: list[_State], segment: int) -> Iterator[Segment]:
    """Yield what may come next, the most specific first."""
    lines = [state.lines[state.at] for state in states]
    tokens = [token for line in lines for token in line]
    counted = [
        place
        for place in states[0].counts
        # many formats explain a single input: there only its first line may count
        if all(place in s.counts for s in states) and (len(states) > 1 or place[0] == 0)
    ]
    for size in counted:
        yield from _rows(states, segment, size)
    if all(len(line) == 1 for line in lines):
        for size in counted:
            if _tells_length(states, size, [line[0] for line in lines]):
                yield Word(size)
    for size in counted:
        sizes = [state.counts[size] for state in states]
        if sizes == [len(line) for line in lines] and (max(sizes) > 1 or len(sizes) > 1):
            yield Vector(size, decimals_of(tokens))
    if len({len(line) for line in lines}) == 1:
        columns = zip(*lines, strict=True)
        yield Row(segment, len(lines[0]), tuple(decimals_of(column) for column in columns))
    elif all(not isinstance(value_of(token), str) for token in tokens):
        yield Vector(None, decimals_of(tokens))


def _rows(states: list[_State], segment: int, size: Place) -> Iterator[Rows]:
    numbers = [state.counts[size] for state in states]
    if max(numbers) < 2 or min(numbers) < 1:  # noqa: PLR2004 - one line is a row
        return
    if any(s.at + n > len(s.lines) for s, n in zip(states, numbers, strict=True)):
        return
    blocks = [s.lines[s.at : s.at + n] for s, n in zip(states, numbers, strict=True)]
    lines = [line for block in blocks for line in block]
    tokens = [token for line in lines for token in line]
    for width in states[0].counts:
        widths = [state.counts.get(width) for state in states]
        pairs = list(zip(blocks, widths, strict=True))
        if width != size and all(len(line) == w for block, w in pairs for line in block):
            yield Rows(size, Vector(width, decimals_of(tokens)))
        if width != size and all(_is_word(line, w) for block, w in pairs for line in block):
            yield Rows(size, Word(width))
    if len({len(line) for line in lines}) == 1:
        columns = zip(*lines, strict=True)
        yield Rows(size, Row(segment, len(lines[0]), tuple(map(decimals_of, columns))))
    elif all(not isinstance(value_of(token), str) for token in tokens):
        yield Rows(size, Vector(None, decimals_of(tokens)))


def _is_word(line: list[str], width: int | None) -> bool:
    return len(line) == 1 and len(line[0]) == width


def _tells_length(states: list[_State], size: Place, words: list[str]) -> bool:
    sizes = [state.counts[size] for state in states]
    if sizes != list(map(len, words)):
        return False
    numbers = all(word.isdigit() for word in words)
    return not numbers or len(set(sizes)) > 1 or max(sizes) >= _LONG


def _cases(inputs: list[Lines]) -> Format | None:
    """Formats whose first line says how many blocks of two lines or more follow."""
    if any(len(lines[0]) != 1 or not isinstance(value_of(lines[0][0]), int) for lines in inputs):
        return None
    numbers = [int(lines[0][0]) for lines in inputs]
    if min(numbers) < 1:
        return None
    for cut in _cuts(inputs):
        pieces = [cut(lines[1:], number) for lines, number in zip(inputs, numbers, strict=True)]
        blocks = [block for piece in pieces if piece is not None for block in piece]
        if None in pieces or len(blocks) <= len(inputs):
            continue  # one block an input shows nothing
        body = _explained(blocks, nested=True)
        if body is not None:
            return Format((Row(0, 1, (None,), frozenset({0})), Cases((0, 0), body)))
    return None


def _cuts(inputs: list[Lines]) -> Iterator[Any]:
    """Yield ways to cut the lines after the first into blocks."""

    def evenly(lines: Lines, number: int) -> list[Lines] | None:
        size, rest = divmod(len(lines), number)
        if rest or size < 2:  # noqa: PLR2004 - blocks of one line are rows
            return None
        return [lines[at : at + size] for at in range(0, len(lines), size)]

    yield evenly
    for column in range(len(inputs[0][1]) if len(inputs[0]) > 1 else 0):

        def by_header(lines: Lines, number: int, column: int = column) -> list[Lines] | None:
            blocks, at = [], 0
            for _ in range(number):
                header = lines[at] if at < len(lines) else []
                count = value_of(header[column]) if column < len(header) else None
                if not isinstance(count, int) or count < 1:
                    return None
                blocks.append(lines[at : at + 1 + count])
                at += 1 + count
            return blocks if at == len(lines) else None

        yield by_header


def _without_counts(segments: tuple[Segment, ...]) -> Format:
    """Return the segments with rows that know which of their tokens count something."""
    counting: set[Place] = set()
    for segment in segments:
        line = segment.line if isinstance(segment, Rows) else segment
        for part in (segment, line):
            size = getattr(part, "size", None)
            if size is not None:
                counting.add(size)
    return Format(
        tuple(
            dataclasses.replace(
                segment, counting=frozenset(c for at, c in counting if at == segment.segment)
            )
            if isinstance(segment, Row)
            else segment
            for segment in segments
        )
    )
