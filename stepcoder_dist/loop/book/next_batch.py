"""Which of the buffered samples the next learner step takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from stepcoder_dist.loop.filling.flat_groups import Fills, is_flat
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import WeightVersion

Units = dict[str, list[JudgedSample]]
"""What is taken at once: a sample by its id, or the samples of a group by the group's."""


def units(
    buffer: Iterable[JudgedSample],
    step: int | None,
    *,
    whole_groups: bool,
    is_complete: Callable[[str, Sequence[JudgedSample]], bool],
) -> Units:
    """Return what waits for the step, or for any: complete groups, or samples."""
    found: Units = {}
    for judged in buffer:
        ticket = judged.request.ticket
        if step in (None, ticket.planned_step):
            unit = ticket.group if whole_groups else ticket.sample_id
            found.setdefault(unit, []).append(judged)
    if not whole_groups:
        return found
    return {group: have for group, have in found.items() if is_complete(group, have)}


def with_a_place(groups: Units, fills: Fills) -> Units:
    """Return the groups that will not be replaced."""

    def has_place(group: Sequence[JudgedSample]) -> bool:
        return not is_flat(group) or fills.of(group[0].request.ticket.planned_step).full

    return {group: have for group, have in groups.items() if has_place(have)}


def choose(
    found: Mapping[str, Sequence[JudgedSample]], count: int, urgent: WeightVersion
) -> list[JudgedSample]:
    """Return what a step of `count` samples takes, fewer where they are not there.

    First what was made by weights older than `urgent`, then what was planned first.
    """

    def order(unit: str) -> tuple[bool, str]:
        return min(j.trajectory.oldest_weights for j in found[unit]) >= urgent, unit

    chosen: list[JudgedSample] = []
    for unit in sorted(found, key=order):
        if len(chosen) + len(found[unit]) <= count:
            chosen += found[unit]
    return chosen
