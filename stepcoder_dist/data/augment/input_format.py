"""The parts of a problem's standard input, inferred from its inputs.

    3 10        Row     a line of a fixed number of tokens
    1 2 3       Vector  a line of numbers, as many as a token of a row said (3), or any number
    abc         Word    a line of one word, as long as a token said
    1 2         Rows    lines of one form, as many as a token said
    1 5         Cases   blocks of lines of one form, as many as a token said

`read` turns an input into a list of arguments, `write` turns arguments into an input. A token that
says a number of something is no argument: it is counted when the input is written, so the two can
never disagree. Where no such format explains every input there is none, and no input is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from stepcoder_dist.errors import Unlike

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,9}")
MOST_PLAIN_ROWS = 4
"""Most rows that no token counts; more are probably a list whose count was not understood."""

Lines = list[list[str]]
"""The tokens of each line."""
Place = tuple[int, int]
"""The place of a token: segment and column."""
Counts = dict[Place, int]


class Segment(Protocol):
    """A part of the input, of one line or more."""

    def read(self, lines: Lines, at: int, counts: Counts) -> tuple[list[Any], int]:
        """Return arguments and the line after; add what its tokens count. Raises `Unlike`."""
        ...

    def count(self, arguments: list[Any], counts: Counts) -> None:
        """Add the number of its arguments. Raises `Unlike` where two numbers disagree."""
        ...

    def write(self, arguments: list[Any], counts: Counts) -> Lines: ...

    @property
    def width(self) -> int:
        """The number of arguments that it reads."""
        ...


@dataclass(frozen=True)
class Row:
    """`tokens` values; those at `counting` places are numbers of something, and no arguments."""

    segment: int
    tokens: int
    floats: tuple[int | None, ...]
    """For each token the decimals of its floats; None: an integer or a word."""
    counting: frozenset[int] = frozenset()

    @property
    def width(self) -> int:
        return self.tokens - len(self.counting)

    def read(self, lines: Lines, at: int, counts: Counts) -> tuple[list[Any], int]:
        tokens = _line(lines, at)
        if len(tokens) != self.tokens:
            raise Unlike
        values = [value_of(token) for token in tokens]
        for column, value in enumerate(values):
            if type(value) is int:
                counts[self.segment, column] = value
        return [v for c, v in enumerate(values) if c not in self.counting], at + 1

    def count(self, arguments: list[Any], counts: Counts) -> None:
        """Add nothing: nothing counts a row's arguments."""

    def write(self, arguments: list[Any], counts: Counts) -> Lines:
        left = iter(arguments)
        values = [
            counts[self.segment, column] if column in self.counting else next(left)
            for column in range(self.tokens)
        ]
        return [[_token(v, d) for v, d in zip(values, self.floats, strict=True)]]


@dataclass(frozen=True)
class Vector:
    size: Place | None
    decimals: int | None
    width: int = 1

    def read(self, lines: Lines, at: int, counts: Counts) -> tuple[list[Any], int]:
        tokens = _line(lines, at)
        if self.size is not None and len(tokens) != counts[self.size]:
            raise Unlike
        return [[value_of(token) for token in tokens]], at + 1

    def count(self, arguments: list[Any], counts: Counts) -> None:
        _agree(counts, self.size, len(arguments[0]))

    def write(self, arguments: list[Any], counts: Counts) -> Lines:
        del counts
        return [[_token(value, self.decimals) for value in arguments[0]]]


@dataclass(frozen=True)
class Word:
    size: Place
    width: int = 1

    def read(self, lines: Lines, at: int, counts: Counts) -> tuple[list[Any], int]:
        tokens = _line(lines, at)
        if len(tokens) != 1 or len(tokens[0]) != counts[self.size]:
            raise Unlike
        return [tokens[0]], at + 1

    def count(self, arguments: list[Any], counts: Counts) -> None:
        _agree(counts, self.size, len(arguments[0]))

    def write(self, arguments: list[Any], counts: Counts) -> Lines:
        del counts
        return [[arguments[0]]]


@dataclass(frozen=True)
class Rows:
    size: Place
    line: Row | Vector | Word
    width: int = 1

    def read(self, lines: Lines, at: int, counts: Counts) -> tuple[list[Any], int]:
        found: list[Any] = []
        for _ in range(counts[self.size]):
            values, at = self.line.read(lines, at, counts)
            one = isinstance(self.line, Vector | Word) or self.line.tokens == 1
            found.append(values[0] if one else tuple(values))
        return [found], at

    def count(self, arguments: list[Any], counts: Counts) -> None:
        _agree(counts, self.size, len(arguments[0]))
        for item in arguments[0]:
            self.line.count([item], counts)

    def write(self, arguments: list[Any], counts: Counts) -> Lines:
        lines: Lines = []
        for item in arguments[0]:
            lines += self.line.write(list(item) if isinstance(item, tuple) else [item], counts)
        return lines


@dataclass(frozen=True)
class Cases:
    size: Place
    body: Format
    width: int = 1

    def read(self, lines: Lines, at: int, counts: Counts) -> tuple[list[Any], int]:
        found: list[Any] = []
        for _ in range(counts[self.size]):
            values, at = self.body.read_lines(lines, at)
            found.append(tuple(values))
        return [found], at

    def count(self, arguments: list[Any], counts: Counts) -> None:
        _agree(counts, self.size, len(arguments[0]))

    def write(self, arguments: list[Any], counts: Counts) -> Lines:
        del counts
        return [line for values in arguments[0] for line in self.body.write_lines(list(values))]


@dataclass(frozen=True)
class Format:
    """A format: segments in order."""

    segments: tuple[Segment, ...]
    ending: str = field(default="\n")
    """The text after the last line."""

    def read(self, text: str) -> list[Any]:
        """Return the arguments of an input. Raises `Unlike`."""
        lines = split(text)
        arguments, at = self.read_lines(lines, 0)
        if at != len(lines):
            raise Unlike
        return arguments

    def write(self, arguments: Sequence[Any]) -> str:
        """Return the input that has these arguments. Raises `Unlike`."""
        lines = self.write_lines(list(arguments))
        if any(not line or "" in line for line in lines):
            raise Unlike  # many programs read an empty line as another number of lines
        return "\n".join(" ".join(line) for line in lines) + self.ending

    def read_lines(self, lines: Lines, at: int) -> tuple[list[Any], int]:
        counts: Counts = {}
        arguments: list[Any] = []
        for segment in self.segments:
            values, at = segment.read(lines, at, counts)
            arguments += values
        return arguments, at

    def write_lines(self, arguments: list[Any]) -> Lines:
        counts: Counts = {}
        parts = list(self._parts(arguments))
        for segment, part in parts:
            segment.count(part, counts)
        try:
            return [line for segment, part in parts for line in segment.write(part, counts)]
        except KeyError:  # what would be counted is empty
            raise Unlike from None

    def _parts(self, arguments: list[Any]) -> Iterator[tuple[Segment, list[Any]]]:
        at = 0
        for segment in self.segments:
            yield segment, arguments[at : at + segment.width]
            at += segment.width


def split(text: str) -> Lines:
    """Split a text into the tokens of each line. Raises `Unlike` for blank lines between others."""
    lines = [line.split() for line in text.rstrip().split("\n")]
    if not all(lines):
        raise Unlike
    return lines


def value_of(token: str) -> Any:
    """Return the token as a number if Python would write the number so; else the token."""
    if _INTEGER.fullmatch(token):
        return token if int(token) == 0 and token[0] == "-" else int(token)
    return float(token) if _FLOAT.fullmatch(token) else token


def decimals_of(tokens: Sequence[str]) -> int | None:
    """Return the decimals of floats that are all written with as many.

    None where they are no floats.
    """
    found = {len(t.partition(".")[2]) if _FLOAT.fullmatch(t) else -1 for t in tokens}
    return found.pop() if len(found) == 1 and -1 not in found else None


def _line(lines: Lines, at: int) -> list[str]:
    if at >= len(lines):
        raise Unlike
    return lines[at]


def _token(value: Any, decimals: int | None) -> str:
    if isinstance(value, float):
        return f"{value:.{decimals}f}" if decimals is not None else repr(value)
    return str(value)


def _agree(counts: Counts, size: Place | None, number: int) -> None:
    if size is not None and counts.setdefault(size, number) != number:
        raise Unlike
