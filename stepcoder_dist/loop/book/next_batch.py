"""Which of the buffered samples the next learner step takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepcoder_dist.loop.book.groups import Groups
from stepcoder_dist.loop.book.lines import Lines
from stepcoder_dist.loop.filling.flat_groups import Fills, is_flat
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import WeightVersion

Units = dict[str, list[JudgedSample]]
"""What is taken at once: a sample by its id, or the samples of a group by the group's."""


@dataclass(frozen=True, slots=True)
class NextBatch:
    """The choice of a book, from what its lines have now."""

    lines: Lines
    groups: Groups
    fills: Fills
    whole_groups: bool
    fills_steps: bool

    def of(self, count: int, step: int | None, urgent: WeightVersion) -> list[JudgedSample]:
        """Return what a step of `count` samples would take, fewer where they are not there.

        First what was made by weights older than `urgent`, then what was planned first.
        """
        units = self.units(step)
        if self.fills_steps:
            units = {group: have for group, have in units.items() if self._has_a_place(have)}
        return _chosen(units, count, urgent)

    def units(self, step: int | None) -> Units:
        """Return what waits for the step, or for any: complete groups, or samples."""
        found: Units = {}
        for judged in self.lines.buffer():
            ticket = judged.request.ticket
            if step in (None, ticket.planned_step):
                unit = ticket.group if self.whole_groups else ticket.sample_id
                found.setdefault(unit, []).append(judged)
        if not self.whole_groups:
            return found
        return {group: h for group, h in found.items() if self.groups.is_complete(group, h)}

    def _has_a_place(self, group: Sequence[JudgedSample]) -> bool:
        """Return whether the group will not be replaced."""
        step = group[0].request.ticket.planned_step
        return not is_flat(group) or self.fills.of(step).full


def _chosen(
    found: Mapping[str, Sequence[JudgedSample]], count: int, urgent: WeightVersion
) -> list[JudgedSample]:
    def order(unit: str) -> tuple[bool, str]:
        return min(j.trajectory.oldest_weights for j in found[unit]) >= urgent, unit

    chosen: list[JudgedSample] = []
    for unit in sorted(found, key=order):
        if len(chosen) + len(found[unit]) <= count:
            chosen += found[unit]
    return chosen
