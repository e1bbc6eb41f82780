"""`--augment N`: add tests to the rows that are kept, and count what their tests then notice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from stepcoder_dist.data.augment import Augmented, augment
from stepcoder_dist.data.augment.scores import AugmentScores, figures
from stepcoder_dist.data.refine.reading import Reading, readings, without_place
from stepcoder_dist.data.refine.stages import Candidate, Rejection
from stepcoder_dist.errors import CheckerFault, ProblemError
from stepcoder_dist.ports import Sandbox

NOTE = "augmentation"
"""The field of a written row that has its figures."""
_SEED = 0
_MOST_OTHERS = 7
"""Further solutions that are asked about an expected value."""


class MoreTests:
    """Implements `stages.Stage`; comes after "the reference passes"."""

    name = "more tests"

    def __init__(self, first: Sandbox, second: Sandbox, limit: int) -> None:
        """`first` and `second` differ in their hash seed; `limit`: tests of a problem."""
        self._first, self._second = first, second
        self._limit = limit

    async def apply(self, found: Candidate) -> Candidate | Rejection:
        augmented = await self._augmented(found)
        notes = dict(found.notes) | {NOTE: figures(augmented)}
        return dataclasses.replace(found, problem=augmented.problem, notes=notes)

    def tally(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
        scores = AugmentScores()
        for row in rows:
            scores.add(row["difficulty"], row[NOTE])
        if not scores.by_level():
            return {}
        total = scores.by_level()[-1]
        return {
            "tests added": total.added,
            "problems without a new test": total.unchanged,
            "mutants of the references": total.mutants,
            "% of them noticed before": _percent(total.score_before),
            "% of them noticed after": _percent(total.score_after),
            "further accepted solutions": total.others,
            "of these, refuted by a new test": total.refuted,
        } | scores.as_json()

    async def _augmented(self, found: Candidate) -> Augmented:
        try:
            return await augment(
                found.problem,
                self._first,
                self._limit,
                _SEED,
                others=_others(found),
                second=self._second,
            )
        except (ProblemError, CheckerFault) as error:
            why = without_place(error) if isinstance(error, ProblemError) else str(error)
            return Augmented(problem=found.problem, why=f"it cannot be judged: {why}")


def _others(found: Candidate) -> list[str]:
    sources = (r.problem.reference for r in readings(found.draft) if isinstance(r, Reading))
    different = dict.fromkeys(s for s in sources if s != found.problem.reference)
    return list(islice(different, _MOST_OTHERS))


def _percent(share: float | None) -> float:
    return round(100 * (share or 0.0), 1)
