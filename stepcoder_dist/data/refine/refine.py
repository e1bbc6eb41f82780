"""The loop: rows are read in the source's order, pass the stages in parallel, are settled in order.

    read ──► [ not in an evaluation set ──► stage ──► stage … ] ──► no duplicate ──► settled file
             └────────── at most `in_flight` rows ──────────┘       in the source's order

Order matters twice. Of two duplicates the first that passes is kept, whatever finishes first. And
the number of settled rows says where to continue. So the same source and options give the same set,
in one run or in ten.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from stepcoder_dist.data.refine import outputs, source
from stepcoder_dist.data.refine.evaluated import EvaluationSets
from stepcoder_dist.data.refine.likeness import Likeness, load_datasketch, text_of
from stepcoder_dist.data.refine.reading import read, without_place
from stepcoder_dist.data.refine.settled_file import Settled, SettledFile
from stepcoder_dist.data.refine.stages import Candidate, Reason, Rejection, Stage
from stepcoder_dist.errors import ProblemError, SandboxFault
from stepcoder_dist.host import installed
from stepcoder_dist.host.console import Phase
from stepcoder_dist.host.fault_streak import FaultStreak
from stepcoder_dist.host.in_order import in_order
from stepcoder_dist.problems import problem_from_row
from stepcoder_dist.problems.files import Row, rows
from stepcoder_dist.problems.formats import problem_id

BAD_ROWS = (Reason.UNREADABLE, Reason.BAD_TESTS)
"""What `max_bad_share` counts: broken rows. RefineTask is meant to leave out the others."""
MOST_FAULTS_IN_A_ROW = 8
"""After so many rows without a verdict in a row, the sandbox is taken to be gone."""
_LINES = 20
"""Reports over the complete set where no bar can be drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineTask:
    """The source, the result and the options of a refining."""

    source: str | Path
    out: Path
    options: Mapping[str, Any]
    """Everything that decides the result, by the options' names, as JSON: for the manifest, and to
    resume only with the same."""
    against: Sequence[str] = ()
    near_duplicate: float = 0.85
    """Jaccard similarity from which two statements are near-duplicates; 0: the check is off."""
    max_bad_share: float = 0.5
    in_flight: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What is known of the source before the first row is settled."""

    about: Mapping[str, Any]
    """Digests, options, versions."""
    rows: int


def survey(task: RefineTask) -> Survey:
    """Read the source once, and judge nothing: a mistake shows before anything is started.

    Raises `UserError` where `out` cannot be written, `ProblemError` where a set cannot be read, and
    `MissingEngine` where near-duplicates are wanted and datasketch is not installed.
    """
    sets = map(str, (task.source, *task.against))
    outputs.prepare(task.out, (file for each in sets for file in source.files(each)))
    if task.near_duplicate:
        load_datasketch()
    rows_there = source.count_rows(str(task.source))
    about = {
        "SRC": source.digest(str(task.source)),
        "--against": [source.digest_of_set(spec) for spec in task.against],
        **task.options,
        "version of stepcoder_dist": installed.version("stepcoder-dist"),
    }
    return Survey(about=about, rows=rows_there)


async def refine(
    task: RefineTask,
    found: Survey,
    stages: Sequence[Stage],
    console: Console,
    *,
    resume: bool = False,
) -> outputs.Account:
    """Write the refined set, its report and its manifest; return the account of the rows.

    Raises `UserError` for what cannot be read or written, `ProblemError` where more rows are bad
    than `max_bad_share` or none is left, and `SandboxFault` when the sandbox stays away. What is
    settled stays settled, for `--resume`.
    """
    kept = _Kept(task)
    for warning in kept.evaluated.warnings:
        console.print(warning, highlight=False, markup=False, soft_wrap=True)
    with SettledFile(task.out, found.about, resume=resume) as settled:
        if settled.kept_older is not None:
            console.print(
                f"{settled.path} was there: kept as {settled.kept_older}",
                highlight=False,
                markup=False,
            )
        work = _Refining(task, stages, settled, kept)
        with Phase(console, "refining", found.rows, lines=_LINES) as phase:
            try:
                await work.recall(phase)
                await work.run(phase)
            except BaseException:
                console.print(
                    f"{settled.path} keeps {settled.count} of {found.rows} rows; continue with "
                    "--resume",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
                raise
        account = outputs.report(task.out, str(task.source), settled, stages)
        _check_bad_share(task, account)
        if account.kept:
            outputs.write(account, str(task.source), settled, found.about)
        settled.remove()
    if not account.kept:
        raise ProblemError(
            f"{task.source}: none of {account.rows} rows is left; see {account.report}"
        )
    return account


@dataclass(slots=True)
class _Kept:
    """What is held for the complete set: ids, signatures, counts."""

    task: RefineTask
    ids: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    seen: Likeness = field(init=False)
    evaluated: EvaluationSets = field(init=False)

    def __post_init__(self) -> None:
        self.seen = Likeness(self.task.near_duplicate)
        self.evaluated = EvaluationSets(self.task.near_duplicate, self.task.against)


class _Refining:
    """One run over the source."""

    def __init__(
        self, task: RefineTask, stages: Sequence[Stage], settled: SettledFile, kept: _Kept
    ) -> None:
        self._task = task
        self._stages = stages
        self._settled = settled
        self._kept = kept
        self._faults = FaultStreak(
            MOST_FAULTS_IN_A_ROW,
            lambda n, last: SandboxFault(f"{n} rows in a row without a verdict; the last: {last}"),
        )
        self._before_faults = 0
        """Rows that were settled before the first fault of the streak."""

    async def recall(self, phase: Phase) -> None:
        """Take over what an earlier run has settled."""
        for line in self._settled.rows():
            await asyncio.sleep(0)  # a signal ends it here as anywhere
            if "row" in line:
                then = problem_from_row(line["row"], line["where"])
                self._kept.seen.add(then.problem_id, text_of(then))
                self._kept.ids.add(line["id"])
            self._kept.counts["row" if "row" in line else "reason"] += 1
        if self._settled.count:
            phase.advance("there already", self._settled.count)

    async def run(self, phase: Phase) -> None:
        """Settle the rest. Raises `SandboxFault` after too many faults in a row."""
        coming = rows(self._task.source)
        for _ in itertools.islice(coming, self._settled.count):
            await asyncio.sleep(0)
        through = in_order(coming, self._through, in_flight=self._task.in_flight)
        async with aclosing(through) as found:
            async for item, settled in found:
                self._settle(item, settled)
                counts = self._kept.counts
                phase.advance(f"{counts['row']} kept, {counts['reason']} left out")

    async def _through(self, item: Row | ProblemError) -> Candidate | Rejection:
        """Take one row through everything that needs no other row."""
        try:
            return await self._judged(item)
        except SandboxFault as fault:
            return Rejection(reason=Reason.NOT_JUDGED, detail=str(fault))

    async def _judged(self, item: Row | ProblemError) -> Candidate | Rejection:
        if isinstance(item, ProblemError):
            return Rejection(reason=Reason.UNREADABLE, detail=without_place(item))
        where, row = item
        found = read(row, where)
        if isinstance(found, Candidate):
            how = self._kept.evaluated.holds(found.draft, text_of(found.problem))
            if how is not None:
                return Rejection(reason=Reason.IN_EVALUATION_SET, detail=how)
        for stage in self._stages:
            if isinstance(found, Rejection):
                break
            found = await stage.apply(found)
        return found

    def _settle(self, item: Row | ProblemError, settled: Candidate | Rejection) -> None:
        if isinstance(item, ProblemError):
            where, name = str(item).partition(": ")[0], None
        else:
            where, name = item[0], problem_id(item[1], item[0])
        line: Settled = {"id": name, "where": where}
        if isinstance(settled, Candidate):
            settled = self._unlike(settled)
        if isinstance(settled, Candidate):
            try:
                row = outputs.row_of(settled)
            except ProblemError as error:
                settled = Rejection(reason=Reason.BAD_TESTS, detail=without_place(error))
        if isinstance(settled, Candidate):
            self._kept.ids.add(settled.problem.problem_id)
            self._kept.seen.add(settled.problem.problem_id, text_of(settled.problem))
            line |= {"normalised": settled.normalised, "row": row}
        else:
            line |= {"reason": settled.reason.value, "detail": settled.detail[:_MOST_DETAIL]}
        self._kept.counts["row" if "row" in line else "reason"] += 1
        self._count_faults(settled)
        self._settled.write(line)

    def _unlike(self, found: Candidate) -> Candidate | Rejection:
        problem = found.problem
        if problem.problem_id in self._kept.ids:
            return Rejection(reason=Reason.DUPLICATE, detail="an earlier row has its id")
        like = self._kept.seen.seen(text_of(problem))
        if like is None:
            return found
        reason = Reason.DUPLICATE if like[1] == 1.0 else Reason.NEAR_DUPLICATE
        return Rejection(reason=reason, detail=_likeness(*like))

    def _count_faults(self, settled: Candidate | Rejection) -> None:
        """Count a fault of the sandbox; rows that never reached it say nothing about it."""
        if isinstance(settled, Candidate) or settled.reason in _JUDGED:
            self._faults.success()
        if self._faults.length == 0:
            self._before_faults = self._settled.count
        if isinstance(settled, Rejection) and settled.reason is Reason.NOT_JUDGED:
            try:
                self._faults.fault(SandboxFault(settled.detail))
            except SandboxFault:
                self._settled.forget(self._settled.count - self._before_faults)
                raise


_MOST_DETAIL = 500
_JUDGED = {r for r in Reason if list(Reason).index(r) >= list(Reason).index(Reason.FAILS)} - {
    Reason.NOT_JUDGED
}


def _likeness(name: str, share: float) -> str:
    return f"the statement of {name}" if share == 1.0 else f"{share:.0%} like {name}"


def _check_bad_share(task: RefineTask, account: outputs.Account) -> None:
    """Raises `ProblemError` for a source that is not what it should be; the report is there."""
    bad = sum(account.removed[reason] for reason in BAD_ROWS)
    if bad > task.max_bad_share * account.rows:
        raise ProblemError(
            f"{task.source}: {bad} of {account.rows} rows are broken, more than --max-bad-share "
            f"{task.max_bad_share:g}; see {account.report}, or continue with --resume "
            "--max-bad-share 1"
        )
