"""When a group is complete: which of its samples are trained, and how many it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import Outcome


@dataclass(frozen=True, slots=True)
class TrainedGroup:
    """A group that is trained entirely, for the curriculum; `passed` is in order of sample id."""

    problem_id: str
    stage: int
    passed: tuple[bool, ...]


class Groups:
    """The groups of which some samples are trained and others are not."""

    def __init__(self, samples_per_group: int) -> None:
        self._samples_per_group = samples_per_group
        self._passed: dict[str, dict[str, bool]] = {}
        """Whether each trained sample passed, by group and sample id, for incomplete groups. A
        group's own dictionary is replaced, never changed: what is `frozen` has it too."""
        self._sizes: dict[str, int] = {}
        """Of groups that an older version has left with fewer samples than planned."""

    def is_complete(self, group: str, buffered: Sequence[JudgedSample]) -> bool:
        """Return whether what is buffered of a group is all that is left to train of it."""
        size = self._sizes.get(group, self._samples_per_group)
        return len(buffered) + len(self._passed.get(group, ())) >= size

    def completed_by(self, batch: Iterable[JudgedSample]) -> list[TrainedGroup]:
        """Count the batch as trained; return the groups that it completes."""
        completed = []
        for trajectory in (judged.trajectory for judged in batch):
            ticket = trajectory.ticket
            before = self._passed.get(ticket.group, {})
            passed = {**before, ticket.sample_id: trajectory.outcome is Outcome.PASSED}
            self._passed[ticket.group] = passed
            if len(passed) == self._samples_per_group:
                del self._passed[ticket.group]
                in_order = tuple(passed[sample_id] for sample_id in sorted(passed))
                completed.append(TrainedGroup(ticket.problem_id, ticket.stage, in_order))
        return completed

    def frozen(self) -> dict[str, dict[str, bool]]:
        """Return who passed, by group, as it is now."""
        return self._passed.copy()

    def restore(
        self, passed_by_group: Mapping[str, Mapping[str, bool]], open_by_group: Counter[str]
    ) -> None:
        """Continue with what a checkpoint holds. `open_by_group`: samples without a fate."""
        self._passed = {group: dict(passed) for group, passed in passed_by_group.items()}
        for group, number in open_by_group.items():
            # the samples of a quarantined problem left their group one at a time
            known = number + len(self._passed.get(group, ()))
            if known < self._samples_per_group:
                self._sizes[group] = known
