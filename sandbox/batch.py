"""`stepcoder judge`: a file of programs in, one verdict a line out, in any order.

`judge_rows` is the library: give it rows and any `ports.Executor`, take verdicts as they come. It
holds no more programs than are in flight.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from sandbox.backend import choose, make_pool
from sandbox.guest.statement_lines import physical_lines
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.coverage_mask import kept_lines
from stepcoder_dist.errors import ProblemError, SandboxFault, UserError
from stepcoder_dist.ports import Executor
from stepcoder_dist.problem_files import rows
from stepcoder_dist.problem_formats import problem_id
from stepcoder_dist.problems import problem_from_row
from stepcoder_dist.records import Problem, Verdict

Problems = Mapping[str, Problem | ProblemError]
"""By id; a row that cannot be used is in it as the error that tells why."""


async def judge_rows(
    programs: Iterable[Any], problems: Problems, executor: Executor, *, in_flight: int
) -> AsyncIterator[dict[str, Any]]:
    """Yield one verdict object for each row, exactly once, in the order in which they finish.

    A row is `{"program_id", "problem_id", "source"}`, or an exception that says why it could not
    be read. A row that cannot be judged yields outcome "invalid", a fault "sandbox_fault".
    """
    coming = iter(programs)
    seen: set[str] = set()
    working: set[asyncio.Task[dict[str, Any]]] = set()
    try:
        more = True
        while more or working:
            while more and len(working) < in_flight:
                try:
                    row = next(coming)
                except StopIteration:
                    more = False
                    break
                working.add(asyncio.ensure_future(_judge_row(row, problems, executor, seen)))
            if working:
                done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def judge_files(
    problems: Path,
    programs: Path,
    out: Path,
    *,
    backend: Literal["docker", "process"],
    jobs: int,
    image: str,
) -> None:
    """Judge a JSONL file of programs; `out` appears when all are done.

    Raises `UserError` for a file that cannot be used, `MissingEngine` and `SandboxFault`.
    """
    if not programs.is_file():
        raise UserError(f"{programs}: no such file; give a JSONL file of programs")
    known = read_problems(problems)
    config = SandboxConfig(backend=backend, image=image, containers=jobs)
    pool = make_pool(config, choose(config))
    counts: Counter[str] = Counter()
    unfinished = out.with_name(out.name + ".part")
    try:
        async with pool:
            with unfinished.open("w", encoding="utf-8") as file:
                async for verdict in judge_rows(
                    _program_rows(programs), known, pool, in_flight=2 * jobs
                ):
                    counts[verdict["outcome"]] += 1
                    file.write(json.dumps(verdict) + "\n")
        unfinished.replace(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another") from None
    finally:
        unfinished.unlink(missing_ok=True)
    shares = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
    print(f"{out}: {counts.total()} verdicts ({shares or 'none'})")  # noqa: T201 - the command's answer


def read_problems(path: Path) -> dict[str, Problem | ProblemError]:
    """Read the problems by id, bad ones as errors. Raises `ProblemError` if there are none."""
    found: dict[str, Problem | ProblemError] = {}
    complaints: list[ProblemError] = []
    for item in rows(path):
        if isinstance(item, ProblemError):
            complaints.append(item)
            continue
        where, row = item
        name = problem_id(row, where)
        try:
            problem = problem_from_row(row, where)
        except ProblemError as error:
            complaints.append(error)
            if name is not None:
                found.setdefault(name, error)
            continue
        if found.setdefault(problem.problem_id, problem) is not problem:
            complaints.append(ProblemError(f"{where}: a second problem {problem.problem_id!r}"))
    if not found:
        raise complaints[0] if complaints else ProblemError(f"{path}: holds no problems")
    return found


async def _judge_row(
    row: Any, problems: Problems, executor: Executor, seen: set[str]
) -> dict[str, Any]:
    """Judge one row; whatever is wrong with it becomes its verdict."""
    ids = _ids(row)
    try:
        source, problem = _checked(row, problems, seen)
        verdict = await executor.judge(source, problem.tests)
    except (ProblemError, UserError) as error:
        return _without_verdict(ids, "invalid", str(error))
    except SandboxFault as error:
        return _without_verdict(ids, "sandbox_fault", str(error))
    return ids | verdict_row(verdict, source, len(problem.tests))


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
        yield item if isinstance(item, ProblemError) else item[1]


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
        raise UserError(f"a second program with the id {program!r}")
    seen.add(program)
    source = row.get("source")
    if not isinstance(source, str):
        raise UserError(f"source is {'missing' if source is None else 'not text'}")
    problem = problems.get(str(row.get("problem_id")))
    if problem is None:
        raise UserError(f"no problem {row.get('problem_id')!r} among the problems")
    if isinstance(problem, ProblemError):
        raise problem
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
