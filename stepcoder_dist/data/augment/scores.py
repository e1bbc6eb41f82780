"""Mutation scores by level: the mutants that a set's tests notice before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from stepcoder_dist.data.augment.augmenting import Augmented
from stepcoder_dist.problems.levels import ordered

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentScore:
    """Sums over the problems of one level, or over all."""

    level: str
    problems: int = 0
    scored: int = 0
    """Problems with mutants."""
    unchanged: int = 0
    """Problems that got no test."""
    tests_before: int = 0
    added: int = 0
    mutants: int = 0
    killed_before: int = 0
    killed_after: int = 0
    lines: int = 0
    lines_before: int = 0
    lines_after: int = 0
    others: int = 0
    refuted: int = 0

    @property
    def score_before(self) -> float | None:
        """Share of all mutants that some test noticed; None without mutants."""
        return self.killed_before / self.mutants if self.mutants else None

    @property
    def score_after(self) -> float | None:
        return self.killed_after / self.mutants if self.mutants else None


class AugmentScores:
    """Sums over problems that are added one at a time: a set may be larger than the memory."""

    def __init__(self) -> None:
        self._sums: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        """Problems for which nothing was tried, by reason (without a failure's details)."""

    def add(self, level: str, figures: Mapping[str, Any]) -> None:
        """Add one problem's `figures`."""
        counts = {name: n for name, n in figures.items() if isinstance(n, int)}
        for key in (level, ALL):
            self._sums.setdefault(key, Counter()).update(counts)
        if "not_tried" in figures:
            self.reasons[str(figures["not_tried"]).partition(":")[0]] += 1

    def by_level(self) -> list[AugmentScore]:
        """Return the levels that were seen, in their order, and all of them together."""
        return [
            AugmentScore(level=level, **self._sums[level])
            for level in (*ordered(self._sums.keys() - {ALL}), ALL)
            if level in self._sums
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the figures by level and the reasons, for a report."""
        rows = {
            score.level: asdict(score)
            | {"score_before": score.score_before, "score_after": score.score_after}
            for score in self.by_level()
        }
        return {"levels": rows, "not_tried": dict(self.reasons)}


def figures(one: Augmented) -> dict[str, Any]:
    """Return the figures of one problem as JSON, by the names of `AugmentScore`."""
    why = {"not_tried": one.why} if one.why else {}
    return why | {
        "problems": 1,
        "scored": int(one.mutants > 0),
        "unchanged": int(not one.added),
        "tests_before": len(one.problem.tests) - one.added,
        "added": one.added,
        "mutants": one.mutants,
        "killed_before": one.killed_before,
        "killed_after": one.killed_after,
        "lines": one.lines,
        "lines_before": one.lines_before,
        "lines_after": one.lines_after,
        "others": one.others,
        "refuted": one.refuted,
    }


def scores_table(scores: Iterable[AugmentScore]) -> Table:
    """Return the scores as a table, one line a level."""
    table = Table(title="test augmentation: share of the reference's mutants that tests notice")
    table.add_column("level")
    for column in (
        "problems", "tests", "added", "unchanged", "mutants", "before", "after", "lines", "after"
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for score in scores:
        table.add_row(
            score.level,
            *map(str, (score.problems, score.tests_before, score.added, score.unchanged)),
            str(score.mutants),
            *map(_share, (score.score_before, score.score_after)),
            *(_share(n / score.lines if score.lines else None) for n in _lines(score)),
        )
    return table


def _lines(score: AugmentScore) -> tuple[int, int]:
    return score.lines_before, score.lines_after


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
