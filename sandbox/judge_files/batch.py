"""`stepcoder judge`: a file of programs in, one verdict a line out, in any order.

`judge_rows` is the library: give it rows and any `ports.Sandbox`, take verdicts as they come. It
holds no more programs than are in flight. `judge_files` adds the files, a bar, and `--resume`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sandbox.backend import choose, make_pool
from sandbox.guest.source.statement_lines import physical_lines
from sandbox.judge_files.verdict_file import DUPLICATE, Standing, VerdictFile
from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.errors import CheckerFault, ProblemError, SandboxFault, UserError
from stepcoder_dist.host.console import Phase, open_console
from stepcoder_dist.host.fault_streak import FaultStreak
from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.problems.files import FIX, rows
from stepcoder_dist.problems.store import read_problems
from stepcoder_dist.records import Problem, Verdict

Problems = Mapping[str, Problem | ProblemError]
"""Problems by id; a row that cannot be used is in it as the error that says why."""

MOST_FAULTS_IN_A_ROW = 32
"""Programs without a verdict in a row after which the sandbox is given up."""
_LINES = 20
"""Lines of progress over the entire file, where no bar can be drawn."""


async def judge_rows(
    programs: Iterable[Any],
    problems: Problems,
    sandbox: Sandbox,
    *,
    in_flight: int,
    standing: Standing | None = None,
    faults: FaultStreak | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Yield one verdict object for each row, exactly once, in the order in which they finish.

    A row is `{"program_id", "problem_id", "source"}`, or an exception that says why it could not
    be read. A row that cannot be judged yields outcome "invalid", a fault "sandbox_fault". Rows
    whose verdict is in `standing` are left out. With `faults`, raises its error after the verdict
    that is one too many.
    """
    coming = _judgeable(programs, problems, standing or Standing())
    working: set[asyncio.Task[_Judged]] = set()
    try:
        more = True
        while more or working:
            while more and len(working) < in_flight:
                item = next(coming, None)
                if item is None:
                    more = False
                elif isinstance(item, dict):
                    yield item
                else:
                    working.add(asyncio.ensure_future(_judge(*item, sandbox)))
            if working:
                done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    verdict, fault = task.result()
                    yield verdict
                    if faults is not None:
                        count_fault(faults, verdict["outcome"], fault)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def judge_files(
    problems: Path,
    programs: Path,
    out: Path,
    *,
    backend: Backend,
    jobs: int,
    image: str,
    resume: bool = False,
) -> None:
    """Judge a JSONL file of programs; each verdict is in `out` as soon as it is there.

    `resume`: continue an `out` that was left unfinished. Raises `UserError` for a file that
    cannot be used, `MissingEngine`, and `SandboxFault` when the sandbox stays away.
    """
    if not programs.is_file():
        raise UserError(f"{programs}: no such file; give a JSONL file of programs")
    known = read_problems(problems)
    config = SandboxConfig(backend=backend, image=image, containers=jobs)
    chosen = choose(config)
    console = open_console(stderr=True)
    # read before `out` is opened: a file that cannot be read costs no older verdicts
    total = 0 if resume else sum(1 for _ in _program_rows(programs))
    with known, VerdictFile(out, problems, programs, resume=resume) as file:
        if file.kept_older is not None:
            console.print(f"{out} was there: kept as {file.kept_older}", highlight=False)
        if resume:
            total = _survey(programs, file)
        counts = Counter(file.standing.outcomes)
        with Phase(console, "judging", total, lines=_LINES) as phase:
            if counts:
                phase.advance("there already", counts.total())
            try:
                async with make_pool(config, chosen) as pool:
                    tally = _Tally(phase, counts)
                    async for verdict in judge_rows(
                        _program_rows(programs),
                        known,
                        pool,
                        in_flight=2 * jobs,
                        standing=file.standing,
                        faults=sandbox_gone(),
                    ):
                        file.write(verdict)
                        tally.add(verdict)
            except BaseException:
                kept = f"{out} keeps {counts.total()} of {total} verdicts"
                console.print(f"{kept}; continue with --resume", highlight=False)
                raise
    shares = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common()) or "none"
    print(f"{out}: {counts.total()} verdicts ({shares})")  # noqa: T201 - the command's answer


def sandbox_gone() -> FaultStreak:
    """Count the programs without a verdict in a row; too many end a command with `SandboxFault`."""
    return FaultStreak(
        MOST_FAULTS_IN_A_ROW,
        lambda n, last: SandboxFault(f"{n} programs in a row without a verdict; the last: {last}"),
    )


def count_fault(faults: FaultStreak, outcome: str, fault: SandboxFault | None) -> None:
    """Count a row's outcome. A checker that fails is no sign of a sandbox that is gone; a row that
    was not judged is no sign of anything."""
    if fault is not None and not isinstance(fault, CheckerFault):
        faults.fault(fault)
    elif outcome != "invalid":
        faults.success()


class _Tally:
    """Counts verdicts and shows them."""

    def __init__(self, phase: Phase, counts: Counter[str]) -> None:
        self._phase = phase
        self._counts = counts
        self._done = 0
        self._start = time.monotonic()

    def add(self, verdict: dict[str, Any]) -> None:
        self._counts[verdict["outcome"]] += 1
        self._done += 1
        rate = self._done / max(time.monotonic() - self._start, 1e-3)
        faults = self._counts["sandbox_fault"]
        self._phase.advance(f"{rate:,.0f}/s" + (f", {faults} sandbox faults" if faults else ""))


def _survey(programs: Path, file: VerdictFile) -> int:
    """Count the rows. Raises `UserError` for standing verdicts about anything else than them."""
    missing = dict(file.standing.judged)
    total = 0
    for row in _program_rows(programs):
        total += 1
        if missing and isinstance(row, dict) and isinstance(row.get("program_id"), str):
            about = missing.pop(row["program_id"], row.get("problem_id"))
            if about != row.get("problem_id"):
                raise UserError(
                    f"{file.path}: program {row['program_id']!r} was judged for problem "
                    f"{about!r}, not {row.get('problem_id')!r}; choose another --out"
                )
    if missing:
        raise UserError(
            f"{file.path}: holds {len(missing)} verdicts on programs that are not in {programs} "
            f"({next(iter(missing))!r}); choose another --out"
        )
    return total


_Judged = tuple[dict[str, Any], SandboxFault | None]
"""A verdict's row, and the fault that it speaks of."""
_Judgeable = tuple[dict[str, Any], str, Problem]
"""Ids, source and problem of a program that can be judged."""


def _judgeable(
    programs: Iterable[Any], problems: Problems, standing: Standing
) -> Iterator[_Judgeable | dict[str, Any]]:
    """Yield what is to be judged, and the verdicts on rows that cannot be."""
    seen: set[str] = set()
    for row in programs:
        ids = _ids(row)
        try:
            source, problem = _checked(row, problems, seen)
        except (ProblemError, UserError) as error:
            verdict = _without_verdict(ids, "invalid", str(error))
            if not standing.holds_refusal(verdict):
                yield verdict
            continue
        if ids["program_id"] not in standing.judged:
            yield ids, source, problem


async def _judge(ids: dict[str, Any], source: str, problem: Problem, sandbox: Sandbox) -> _Judged:
    """Judge one program; whatever is wrong with it becomes its verdict."""
    try:
        verdict = await sandbox.judge(source, problem.tests, problem_id=problem.problem_id)
    except (ProblemError, UserError) as error:
        return _without_verdict(ids, "invalid", str(error)), None
    except SandboxFault as error:
        return _without_verdict(ids, "sandbox_fault", str(error)), error
    return ids | verdict_row(verdict, source, len(problem.tests)), None


def verdict_row(verdict: Verdict, source: str, tests_total: int) -> dict[str, Any]:
    """A verdict as JSON. Where nothing is known about its lines FGO keeps all, and so does this."""
    executed = verdict.executed_lines
    if verdict.structure is not None and verdict.coverage_trusted:
        kept = kept_lines(verdict.structure, executed)
    else:
        kept = frozenset(range(1, len(physical_lines(source)) + 1))
    return {
        "outcome": verdict.outcome.value,
        "tests_passed": verdict.tests_passed,
        "tests_total": tests_total,
        "executed_lines": sorted(executed),
        "kept_lines": sorted(kept),
        "coverage_trusted": verdict.coverage_trusted,
        "wall_ms": round(verdict.wall_ms, 3),
        "detail": verdict.detail,
    }


def _program_rows(path: Path) -> Iterable[Any]:
    for item in rows(path):
        if isinstance(item, ProblemError):
            reason = str(item).removeprefix(f"{path}:").removesuffix(f"; {FIX}")
            yield ProblemError(f"line {reason}")
        else:
            yield item[1]


def _ids(row: Any) -> dict[str, Any]:
    get = row.get if isinstance(row, dict) else {}.get
    return {"program_id": get("program_id"), "problem_id": get("problem_id")}


def _checked(row: Any, problems: Problems, seen: set[str]) -> tuple[str, Problem]:
    """Return source and problem of a row. Raises `UserError` or `ProblemError`."""
    if isinstance(row, UserError):
        raise row
    if not isinstance(row, dict):
        raise UserError(f"the row is a {type(row).__name__}, not an object")
    program = row.get("program_id")
    if not isinstance(program, str):
        raise UserError("program_id is missing or not text")
    if program in seen:
        raise UserError(f"{DUPLICATE}{program!r}")
    seen.add(program)
    source = row.get("source")
    if not isinstance(source, str):
        raise UserError(f"source is {'missing' if source is None else 'not text'}")
    problem = problems.get(str(row.get("problem_id")))
    if problem is None:
        raise UserError(f"no problem {row.get('problem_id')!r} among the problems")
    if isinstance(problem, ProblemError):
        # a new one: an exception keeps the frames of every time that it was raised
        raise ProblemError(str(problem))
    return source, problem


def _without_verdict(ids: dict[str, Any], outcome: str, detail: str) -> dict[str, Any]:
    return ids | {
        "outcome": outcome,
        "tests_passed": 0,
        "tests_total": 0,
        "executed_lines": [],
        "kept_lines": [],
        "coverage_trusted": False,
        "wall_ms": 0.0,
        "detail": detail,
    }
