"""What a checkpoint holds of the book of samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stepcoder_dist.loop.book.groups import Groups
from stepcoder_dist.loop.book.lines import Fate, Line, Lines, State
from stepcoder_dist.loop.filling.flat_groups import Fills
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import Ticket, WeightVersion


@dataclass(frozen=True, slots=True)
class SavedParts:
    """The parts of a book that a checkpoint holds, besides the numbers of its steps."""

    lines: Lines
    groups: Groups
    fills: Fills
    fills_steps: bool

    def frozen(self, version: WeightVersion, planned_steps: int) -> Callable[[], dict[str, Any]]:
        """Return what makes the snapshot of now, as plain JSON data, whenever it is called."""
        fates = self.lines.fates.copy()
        open_tickets = [line.ticket for line in self.lines.all()]
        steps = {ticket.planned_step for ticket in open_tickets}
        fills = {"fills": self.fills.snapshot(steps)} if self.fills_steps else {}
        groups = self.groups.frozen()

        def snapshot() -> dict[str, Any]:
            tickets = sorted(open_tickets, key=lambda ticket: ticket.sample_id)
            return (
                fills
                | groups
                | {
                    "version": version,
                    "planned_steps": planned_steps,
                    "on_their_way": [asdict(ticket) for ticket in tickets],
                    "samples": {fate.value: number for fate, number in fates.items()},
                }
            )

        return snapshot

    async def ahead(self, until: int, filled: range) -> list[JudgedSample]:
        """Wait until every sample of the steps before `until` is judged; return them by id.

        Also waits until the steps `filled` are full, where steps are filled.
        """

        def of_these_steps() -> list[Line]:
            return [line for line in self.lines.all() if line.ticket.planned_step < until]

        await self.lines.until(
            lambda: (
                all(line.is_judged for line in of_these_steps())
                and (not self.fills_steps or self.fills.full(filled.start, filled.stop))
            ),
            f"the samples of the steps before {until + 1}, which the checkpoint holds",
        )
        found = [line.judged for line in of_these_steps() if line.judged is not None]
        found += self.fills.dropped(until)
        return sorted(found, key=lambda judged: judged.sample_id)

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue where `snapshot` was taken."""
        self.fills.restore(snapshot.get("fills", {}))
        for fields in snapshot["on_their_way"]:
            # old checkpoints have no groups in their tickets: there the sample's id begins with it
            group = fields["sample_id"].rpartition("-")[0]
            self.lines.take_in(Ticket(**{"group": group, **fields}))
        open_by_group = Counter(line.ticket.group for line in self.lines.all())
        self.groups.restore(snapshot["groups"], open_by_group, snapshot.get("programs", {}))
        samples = snapshot["samples"].items()
        self.lines.fates.update({Fate(name): number for name, number in samples})

    def restore_judged(self, samples: Iterable[JudgedSample]) -> None:
        """Put samples of a checkpoint into the buffer. One that is not planned is kept for later.

        Raises `RunError` for one that was started already.
        """
        for judged in samples:
            if judged.sample_id not in self.lines:
                self.fills.keep(judged)
                continue
            self.lines.move(judged.sample_id, State.UNDER_WAY).request = judged.request
            self.lines.move(judged.sample_id, State.JUDGED).judged = judged
            self.lines.move(judged.sample_id, State.BUFFERED)


def open_in(snapshot: Mapping[str, Any]) -> frozenset[str]:
    """Return the ids of the samples that were on their way when `SampleBook.snapshot` was taken."""
    return frozenset(fields["sample_id"] for fields in snapshot["on_their_way"])
