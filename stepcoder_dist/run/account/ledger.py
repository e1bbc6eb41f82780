"""`ledger.jsonl`: the account of every sample of a run, in a file that only grows.

    {"event": "run", "step": 0, "run": …}              the first row: what a step consists of
    {"event": "planned", "step": 1, "planned_step": 0, "problem": …, "samples": [ids]}
    {"event": "trained", "step": 1, "samples": [ids]}  and so each other fate, with its `why`
    {"event": "step", "step": 1}                       the rows of step 1 are complete
    {"event": "resumed", "step": 1}                    what was written after step 1 is void
    {"event": "end", "step": 7}                        the run ended by itself after step 6

`step` is the learner step whose checkpoint, if it has one, already knows the row. A step's rows are
written after its samples.jsonl and before its checkpoint appears, in one piece that its last row
closes. So a crash at any point leaves the account of complete steps, and perhaps a piece that
nothing closes, which does not count. Samples that were under way at a checkpoint are open in the
account of its step: a resumed run samples them again, under the same ids.

What is planned and ends after the last step carries the number of the next one: the row says so
only until a resumption, which takes these samples up again.

`ledger_proof.py` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.files import json_lines
from stepcoder_dist.host.files.json_lines import append_rows
from stepcoder_dist.loop.account import Ending, Page
from stepcoder_dist.records import Ticket, WeightVersion

NAME = "ledger.jsonl"

Row = dict[str, Any]


class Ledger:
    """Writes a run's account, a step at a time."""

    def __init__(self, path: Path, config: RunConfig, problem_ids: Sequence[str]) -> None:
        """`path` is the run directory. `problem_ids` are in the order that the planner has."""
        self._path = path / NAME
        self._head: Row = {
            "event": "run",
            "step": 0,
            "run": path.name,
            "seed": config.seed,
            "problems_per_step": config.problems_per_step,
            "samples_per_problem": config.sampling.samples_per_problem,
            "samples_per_step": config.learner.samples_per_step,
            "first_planned_step": 0,
            "problems": list(problem_ids),
        }
        self._pages: list[tuple[WeightVersion, Page]] = []
        """Of steps whose rows are not written."""
        self._last: WeightVersion = 0
        self._broken = False
        """A write failed: what follows would join a torn row."""

    def resumed(
        self, version: WeightVersion, planned_steps: int, open_tickets: Iterable[Ticket]
    ) -> None:
        """Declare void what was written after the checkpoint of step `version`.

        A run that had no ledger yet gets one that begins there, with the samples under way.
        """
        self._last = version
        self._pages.clear()  # of steps that a learner lost before they were recorded
        first = next(json_lines.rows(self._path), None)
        if first is not None and first["step"] > version:
            self._path.unlink()  # it began later, so it knows nothing of this checkpoint
        if json_lines.cut(self._path):
            self._append([{"event": "resumed", "step": version}])
            return
        head = self._head | {"step": version, "first_planned_step": planned_steps}
        page = Page(planned=list(open_tickets))
        self._append([head, *_rows(version, page), _closing("step", version)])

    def remember(self, version: WeightVersion, page: Page) -> None:
        """Take what happened up to the state that the checkpoint of step `version` holds."""
        self._pages.append((version, page))

    def write(self, version: WeightVersion) -> None:
        """Write the rows of the remembered steps up to this one. Raises `OSError`."""
        now = [(step, page) for step, page in self._pages if step <= version]
        self._pages = self._pages[len(now) :]
        for step, page in now:
            self._append([*self._opening(), *_rows(step, page), _closing("step", step)])
            self._last = step

    def end(self, page: Page) -> None:
        """Write what happened after the last step, when the run ends. Raises `OSError`.

        After a step that could not be recorded nothing is written: the files end as those of a
        run that was killed.
        """
        if not self._broken and not self._pages:
            step = self._last + 1
            self._append([*self._opening(), *_rows(step, page), _closing("end", step)])

    def _opening(self) -> list[Row]:
        begun = self._path.exists() and self._path.stat().st_size > 0
        return [] if begun else [self._head]

    def _append(self, rows: Sequence[Row]) -> None:
        self._broken = True
        append_rows(self._path, rows)
        self._broken = False


def _closing(event: str, step: WeightVersion) -> Row:
    return {"event": event, "step": step}


def _rows(step: WeightVersion, page: Page) -> Iterator[Row]:
    def group(ticket: Ticket) -> tuple[str, int, str, int]:
        return ticket.group, ticket.planned_step, ticket.problem_id, ticket.stage

    planned = sorted(page.planned, key=lambda ticket: (ticket.group, ticket.sample_id))
    for (_, planned_step, problem, stage), tickets in groupby(planned, key=group):
        yield {
            "event": "planned",
            "step": step,
            "planned_step": planned_step,
            "problem": problem,
            "stage": stage,
            "samples": [ticket.sample_id for ticket in tickets],
        }

    def fate(ending: Ending) -> tuple[str, str]:
        return ending.fate, ending.why

    for (name, why), endings in groupby(sorted(page.ended, key=fate), key=fate):
        row: Row = {"event": name, "step": step}
        if why:
            row["why"] = why
        yield {**row, "samples": sorted(ending.sample_id for ending in endings)}
