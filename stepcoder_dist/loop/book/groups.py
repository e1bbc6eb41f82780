"""When a group is complete: which of its samples are trained, and how many it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import Outcome


@dataclass(frozen=True, slots=True)
class TrainedGroup:
    """A group that is trained entirely, for the curriculum, in order of sample id."""

    problem_id: str
    stage: int
    passed: tuple[bool, ...]
    programs: tuple[str, ...] = ()
    """Sources of those that passed, where they are kept and not too long."""


class Groups:
    """The groups of which some samples are trained and others are not."""

    def __init__(self, samples_per_group: int, *, program_room: int = 0) -> None:
        self._samples_per_group = samples_per_group
        self._program_room = program_room
        """Most tokens, with the prompt, of a program that is kept; 0: none is."""
        self._programs: dict[str, str] = {}
        """Sources of trained samples that passed, by sample id, for incomplete groups."""
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
        for judged in batch:
            ticket = judged.trajectory.ticket
            own = judged.trajectory.outcome is Outcome.PASSED
            passed = {**self._passed.get(ticket.group, {}), ticket.sample_id: own}
            self._passed[ticket.group] = passed
            tokens = len(judged.request.prompt_ids) + len(judged.completion.token_ids)
            if own and tokens <= self._program_room:
                self._programs[ticket.sample_id] = judged.completion.program.source
            if len(passed) == self._samples_per_group:
                del self._passed[ticket.group]
                ids = sorted(passed)
                in_order = tuple(passed[sample_id] for sample_id in ids)
                programs = (self._programs.pop(sample_id, "") for sample_id in ids)
                passes = tuple(program for program in programs if program)
                completed.append(TrainedGroup(ticket.problem_id, ticket.stage, in_order, passes))
        return completed

    def frozen(self) -> dict[str, Any]:
        """Return who passed, by group, as it is now, and the programs that are kept."""
        programs = {"programs": self._programs.copy()} if self._program_room else {}
        return {"groups": self._passed.copy(), **programs}

    def restore(
        self,
        passed_by_group: Mapping[str, Mapping[str, bool]],
        open_by_group: Counter[str],
        programs: Mapping[str, str],
    ) -> None:
        """Continue with what a checkpoint holds. `open_by_group`: samples without a fate."""
        self._programs = dict(programs)
        self._passed = {group: dict(passed) for group, passed in passed_by_group.items()}
        for group, number in open_by_group.items():
            # the samples of a quarantined problem left their group one at a time
            known = number + len(self._passed.get(group, ()))
            if known < self._samples_per_group:
                self._sizes[group] = known
