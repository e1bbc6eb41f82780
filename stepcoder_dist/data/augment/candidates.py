"""New inputs of a problem, of the shapes seen; a seed always gives the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from stepcoder_dist.data.augment.format_search import infer
from stepcoder_dist.data.augment.input_format import Format
from stepcoder_dist.data.augment.learning import record
from stepcoder_dist.data.augment.sequences import Record
from stepcoder_dist.data.augment.shapes import Reach
from stepcoder_dist.errors import Unlike
from stepcoder_dist.records import TestSuite

_TRIES_A_CANDIDATE = 30
"""Attempts for one candidate: most of what is made breaks a relation or was made before."""
_MOST_CHANGES = 3
_LONGEST = 20_000
"""Longest input in characters, if no longer one was seen."""


def candidates(tests: TestSuite, most: int, seed: int, reach: Reach) -> list[Any]:
    """Make up to `most` new inputs, simple and varied ones mixed; none where no shape is known."""
    if tests.fn_name is None:
        found = infer(tests.inputs)
        if found is None:
            return []
        arguments = [found.read(text) for text in tests.inputs]
        return _new(arguments, tests.inputs, most, Random(seed), reach, found)
    lists = [list(arguments) for arguments in tests.inputs]
    if len({len(arguments) for arguments in lists}) != 1 or not lists[0]:
        return []
    return _new(lists, tests.inputs, most, Random(seed), reach, None)


def _new(
    seen: list[list[Any]],
    inputs: Sequence[Any],
    most: int,
    rng: Random,
    reach: Reach,
    written: Format | None,
) -> list[Any]:
    if not seen or not seen[0]:
        return []
    shape = record(list, seen, reach)
    longest = max(_LONGEST, *(len(repr(one)) for one in inputs))
    known = {repr(one) for one in inputs}
    found: list[Any] = []
    for arguments in _made(shape, seen, rng, most * _TRIES_A_CANDIDATE):
        if len(found) == most:
            break
        if not shape.fits(arguments):
            continue
        try:
            new = arguments if written is None else written.write(arguments)
        except Unlike:
            continue
        text = repr(new)
        if text not in known and len(text) <= longest:
            known.add(text)
            found.append(new)
    return found


def _made(shape: Record, seen: list[list[Any]], rng: Random, tries: int) -> Iterator[list[Any]]:
    """Yield small changes of seen inputs, new combinations of their parts, new ones, in turn."""
    for number in range(tries):
        base = seen[number % len(seen)]
        match number % 4:
            case 0:
                yield shape.crossed(base, rng.choice(seen), rng)
            case 1:
                yield shape.fresh(rng)
            case _:
                for _ in range(rng.randint(1, _MOST_CHANGES)):
                    base = shape.varied(base, rng) if shape.fits(base) else base
                yield base
