"""How much of one set's solutions is in another's: lines and n-grams (StepCoder's analysis).

    evaluated solutions ─► Index: the units of each ◄─ training solutions, streamed
                              └─► found share and nearest training problem, for each

The index holds the evaluated set alone, so the training set may be of any size. A unit (a line,
an n-gram) that repeats within a solution counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from stepcoder_dist.data.overlap.code_lines import (
    Line,
    every_line,
    logical_lines,
    ngrams,
    telling_lines,
)

NGRAM_TOKENS = 10
Measure = Callable[[Sequence[Line]], set[str]]
"""A way to divide a solution into units."""


def measures(n: int = NGRAM_TOKENS) -> dict[str, Measure]:
    """Return the measures by name.

    The paper counts every line, also those that are in any program.
    """
    return {
        "telling lines": telling_lines,
        f"{n}-grams": partial(ngrams, n=n),
        "every line": every_line,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One evaluated solution by one measure."""

    problem_id: str
    units: int
    found: int
    """Number of units that are in some training solution."""
    nearest: str | None
    """The training problem with most of the units, the first of equals; None where none has any."""
    nearest_found: int
    """Number of units in the solutions of that problem."""

    @property
    def share(self) -> float | None:
        """Share of the units found; None for a solution without a unit, which is too short."""
        return self.found / self.units if self.units else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One measure over the evaluated problems that have a unit."""

    problems: int
    units: int
    found: int
    mean_share: float | None
    """Mean share over problems."""
    over_half: int
    """Problems with more than half of their units found; the paper reports this for lines."""
    bins: tuple[int, ...]
    """Number of problems by share: none, up to 25%, 50%, 75%, less than all, all."""


BINS = ("none", "≤ 25%", "≤ 50%", "≤ 75%", "< 100%", "all")


@dataclass(slots=True)
class _Entry:
    problem_id: str
    units: int
    nearest: str | None = None
    nearest_found: int = 0


@dataclass(slots=True)
class Index:
    """One measure of an evaluated set, and what training solutions have matched so far."""

    measure: Measure
    _entries: list[_Entry] = field(default_factory=list)
    _holders: dict[str, list[int]] = field(default_factory=dict)
    """Evaluated solutions by the units in them."""
    _found: set[str] = field(default_factory=set)

    def add_evaluated(self, problem_id: str, solution: Sequence[Line]) -> None:
        units = self.measure(solution)
        for unit in units:
            self._holders.setdefault(unit, []).append(len(self._entries))
        self._entries.append(_Entry(problem_id, len(units)))

    def add_training(self, problem_id: str, solutions: Iterable[Sequence[Line]]) -> None:
        """Look up the units of one training problem, all of its solutions together."""
        shared = {u for lines in solutions for u in self.measure(lines) if u in self._holders}
        self._found |= shared
        counts = Counter(holder for unit in shared for holder in self._holders[unit])
        for holder, count in counts.items():
            entry = self._entries[holder]
            if count > entry.nearest_found:
                entry.nearest, entry.nearest_found = problem_id, count

    def found(self) -> list[Found]:
        """Return the results in the order in which the evaluated solutions were added."""
        counts = Counter(holder for unit in self._found for holder in self._holders[unit])
        return [
            Found(
                problem_id=entry.problem_id,
                units=entry.units,
                found=counts[number],
                nearest=entry.nearest,
                nearest_found=entry.nearest_found,
            )
            for number, entry in enumerate(self._entries)
        ]


def distribution(found: Iterable[Found]) -> Distribution:
    measured = [(each, share) for each in found if (share := each.share) is not None]
    bins = [0] * len(BINS)
    for _, share in measured:
        bins[_bin(share)] += 1
    return Distribution(
        problems=len(measured),
        units=sum(each.units for each, _ in measured),
        found=sum(each.found for each, _ in measured),
        mean_share=sum(share for _, share in measured) / len(measured) if measured else None,
        over_half=sum(share > 0.5 for _, share in measured),  # noqa: PLR2004 - half
        bins=tuple(bins),
    )


def _bin(share: float) -> int:
    if share in (0, 1):
        return 0 if share == 0 else len(BINS) - 1
    return 1 + sum(share > edge for edge in (0.25, 0.5, 0.75))


def overlap(
    evaluated: Iterable[tuple[str, str]],
    training: Iterable[tuple[str, Sequence[str]]],
    chosen: dict[str, Measure],
) -> dict[str, list[Found]]:
    """Compare (id, solution) of the one with (id, solutions) of the other, by each measure."""
    indices = {name: Index(measure) for name, measure in chosen.items()}
    for problem_id, source in evaluated:
        lines = list(logical_lines(source))
        for index in indices.values():
            index.add_evaluated(problem_id, lines)
    for problem_id, sources in training:
        solutions = [list(logical_lines(source)) for source in sources]
        for index in indices.values():
            index.add_training(problem_id, solutions)
    return {name: index.found() for name, index in indices.items()}
