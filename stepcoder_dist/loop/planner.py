"""The choice of the next problem, and the tickets of its group. Repeatable from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from stepcoder_dist.method.curriculum import Curriculum
from stepcoder_dist.records import Ticket

SPARE = "x"
"""Begins the number of a group that takes the place of a flat one: sorted after the step's own."""


def is_spare(sample_id: str) -> bool:
    """Return whether the sample is of such a group."""
    return f"-{SPARE}" in sample_id


def sample_seed(run_seed: int, sample_id: str) -> int:
    """Return 31 bits that depend on the arguments alone; vLLM takes a signed 32-bit seed."""
    digest = hashlib.blake2b(f"{run_seed}/{sample_id}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


class ProblemOrder:
    """Which problems each step has, in seeded epochs. It depends on the arguments alone."""

    def __init__(self, problem_ids: Sequence[str], *, seed: int, problems_per_step: int) -> None:
        self.problem_ids = tuple(problem_ids)
        self._seed = seed
        self._problems_per_step = problems_per_step

    def of(self, step: int) -> list[str]:
        """Return the step's problems, all different unless the set is smaller than a step.

        Where an epoch ends inside the step, the next one may begin with problems that the step
        already has: those after the step stand in for them, and come again in their own place.
        """
        row = self._row(step * self._problems_per_step)
        drawn = list(islice(row, self._problems_per_step))
        if len(self.problem_ids) < self._problems_per_step:
            return drawn
        held, seen = frozenset(drawn), set[str]()
        others = (problem_id for problem_id in row if problem_id not in held)
        different = []
        for problem_id in drawn:
            different.append(next(others) if problem_id in seen else problem_id)
            seen.add(problem_id)
        return different

    def spare(self, step: int, number: int) -> str:
        """Return the problem of the group that takes the place of a step's `number`-th flat one.

        All other problems, in an order of the step's own, and then again; the step's own problems
        only where there are no others. They come in their own place of the epoch too.
        """
        own = frozenset(self.of(step))
        order = np.random.default_rng((self._seed, step, 1)).permutation(len(self.problem_ids))
        row: list[str] = [self.problem_ids[index] for index in order.tolist()]
        others = [problem_id for problem_id in row if problem_id not in own] or row
        return others[number % len(others)]

    def _row(self, place: int) -> Iterator[str]:
        """Yield epochs without an end, each a permutation of all problems, from a position on."""
        epoch, position = divmod(place, len(self.problem_ids))
        while True:
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self.problem_ids))
            for index in order[position:].tolist():
                yield self.problem_ids[index]
            epoch, position = epoch + 1, 0


class Planner:
    """Walks through the problems in seeded epochs and writes one ticket for each sample.

    The problems of a step depend on the seed and the step alone; their stages are the
    curriculum's at the time of planning. A checkpoint needs no position in the data.
    """

    def __init__(
        self,
        problem_ids: Sequence[str],
        curriculum: Curriculum,
        *,
        seed: int,
        problems_per_step: int,
        samples_per_problem: int,
    ) -> None:
        self._order = ProblemOrder(problem_ids, seed=seed, problems_per_step=problems_per_step)
        self._curriculum = curriculum
        self._seed = seed
        self._samples_per_problem = samples_per_problem
        self._replacements = 0

    @property
    def problem_ids(self) -> tuple[str, ...]:
        """The problems of the run, in the order that the seed permutes."""
        return self._order.problem_ids

    def plan(self, step: int) -> list[list[Ticket]]:
        """Return the groups of one learner step, each as the tickets of its samples."""
        return [
            self._group(step, index, problem_id)
            for index, problem_id in enumerate(self._order.of(step))
        ]

    def reserve(self, step: int, number: int) -> list[tuple[str, int]]:
        """Return problem and present stage of the groups that may replace a step's flat ones."""
        problem_ids = (self._order.spare(step, each) for each in range(number))
        return [(each, self._curriculum.start_point(each).stage) for each in problem_ids]

    def spare(self, step: int, number: int, problem_id: str, stage: int) -> list[Ticket]:
        """Return the tickets of a group of the step's reserve."""
        return self._tickets(step, f"s{step:06d}-{SPARE}{number:04d}", problem_id, stage)

    def replace(self, ticket: Ticket, *, without: Collection[str] = ()) -> Ticket:
        """Return the ticket of another sample for the group of one that was lost.

        `without`: problems that nothing is sampled of. In the place of one of them, all samples of
        a group get the same other problem, and are a group of that.
        """
        self._replacements += 1
        sample_id = f"{ticket.sample_id.partition('+')[0]}+{self._replacements:04d}"
        again = replace(ticket, sample_id=sample_id, seed=sample_seed(self._seed, sample_id))
        if ticket.problem_id not in without:
            return again
        group = ticket.group.partition("~")[0]
        first = sample_seed(self._seed, group) % len(self.problem_ids)
        row = (*self.problem_ids[first:], *self.problem_ids[:first])
        other = next(problem_id for problem_id in row if problem_id not in without)
        return replace(
            again,
            group=f"{group}~{self.problem_ids.index(other)}",
            problem_id=other,
            stage=self._curriculum.start_point(other).stage,
        )

    def _group(self, step: int, index: int, problem_id: str) -> list[Ticket]:
        stage = self._curriculum.start_point(problem_id).stage
        return self._tickets(step, f"s{step:06d}-{index:04d}", problem_id, stage)

    def _tickets(self, step: int, group: str, problem_id: str, stage: int) -> list[Ticket]:
        ids = [f"{group}-{sample:04d}" for sample in range(self._samples_per_problem)]
        return [
            Ticket(
                sample_id=sample_id,
                group=group,
                problem_id=problem_id,
                stage=stage,
                seed=sample_seed(self._seed, sample_id),
                planned_step=step,
            )
            for sample_id in ids
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"replacements": self._replacements}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._replacements = int(state["replacements"])
