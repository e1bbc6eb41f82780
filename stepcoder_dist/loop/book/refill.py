"""How the flat groups of a step are replaced by its reserve, as `flat_groups.py` draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepcoder_dist.loop.book.lines import Line, Lines
from stepcoder_dist.loop.book.next_batch import Units
from stepcoder_dist.loop.book.saved import SavedParts
from stepcoder_dist.loop.filling import flat_groups
from stepcoder_dist.loop.filling.flat_groups import Fills, is_flat
from stepcoder_dist.records import Outcome, Ticket


class Refill:
    """The transitions of the book that fill a step.

    `complete_groups` returns what waits for a step, by group.
    """

    def __init__(
        self,
        lines: Lines,
        fills: Fills,
        saved: SavedParts,
        complete_groups: Callable[[int], Units],
    ) -> None:
        self._lines = lines
        self._fills = fills
        self._saved = saved
        self._complete_groups = complete_groups

    async def flat_groups(self, step: int) -> list[str]:
        """Wait until all samples of the step are judged; return its groups that scored alike."""

        def of_step() -> list[Line]:
            return [line for line in self._lines.all() if line.ticket.planned_step == step]

        await self._lines.until(
            lambda: all(line.is_judged for line in of_step()),
            f"the samples of step {step + 1}",
        )
        groups = self._complete_groups(step)
        return sorted(group for group, have in groups.items() if is_flat(have))

    def is_full(self, step: int) -> None:
        """Record that no group of the step is replaced any more."""
        self._fills.of(step).full = True
        self._lines.changed.notify()

    def replace_flat(self, step: int, group: str, spare: Sequence[Ticket]) -> bool:
        """Reject a flat group and plan the next of the reserve; False where that is judged.

        So it is in a resumed run whose checkpoint held it.
        """
        fill, have = self._fills.of(step), self._complete_groups(step)[group]
        have.sort(key=lambda judged: judged.sample_id)
        ticket = have[0].request.ticket
        passed = tuple(j.trajectory.outcome is Outcome.PASSED for j in have)
        fill.outcomes.append((ticket.problem_id, ticket.stage, passed))
        fill.dropped += have
        fill.used += 1
        self._lines.drop_group(group, flat_groups.WHY)
        for each in spare:
            self._lines.plan(each)
        kept = self._fills.kept(each.sample_id for each in spare)
        self._saved.restore_judged(kept)
        return len(kept) < len(spare)
