"""`stepcoder data inspect`: reads a set row by row, and with `--run` once more for the sandbox."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.data.inspect import inspection, problem_view, table as inspection_table
from stepcoder_dist.data.inspect.reference_run import ReferenceRun, SetRuns, reference_runs
from stepcoder_dist.errors import ConfigError, SandboxFault, UserError
from stepcoder_dist.host.console import Phase, open_console
from stepcoder_dist.host.interruption import run_until_done
from stepcoder_dist.problems import Account, stream
from stepcoder_dist.records import Problem

_IN_FLIGHT = 4
"""References for each container. Runs are returned in order; a slow one must not stop the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOptions:
    """The sandbox that references run in."""

    backend: Backend
    jobs: int
    image: str


def show_set(
    source: str,
    *,
    as_json: bool,
    tokenizer: str,
    max_bad_share: float,
    sandbox: SandboxOptions | None,
) -> None:
    """Print the set in numbers; with a sandbox also what its references do on their tests."""
    summary = inspection.SetSummary(_token_counter(tokenizer) if tokenizer else None)
    account = Account()
    for problem in stream(source, max_bad_share=max_bad_share, account=account):
        summary.add(problem)
    runs = None
    if sandbox is not None:
        runs = SetRuns()
        total = summary.all.problems - summary.all.without_reference
        run_references(stream(source, max_bad_share=1), total, sandbox, runs.add)
    if as_json:
        sys.stdout.write(json.dumps(inspection_table.as_json(source, summary, account, runs)))
        sys.stdout.write("\n")
    else:
        console = open_console()
        inspection_table.print_table(console, summary, account, runs)


def show_curriculum(source: str, chosen: str, *, as_json: bool, max_bad_share: float) -> None:
    """Print the start points of one problem or, with `chosen` empty, of all, as they are read."""
    problems = stream(source, max_bad_share=max_bad_share)
    found = [find(source, chosen, max_bad_share)] if chosen else problems
    rows = map(inspection.curriculum_row, found)
    lines = map(json.dumps, rows) if as_json else inspection.curriculum_lines(rows)
    for line in lines:
        sys.stdout.write(line + "\n")


def show_problem(
    source: str, chosen: str, *, max_bad_share: float, sandbox: SandboxOptions | None
) -> None:
    """Print one problem; with a sandbox also what its reference does on its tests."""
    problem = find(source, chosen, max_bad_share)
    runs: list[ReferenceRun] = []
    if sandbox is not None and problem.reference:
        run_references([problem], 1, sandbox, runs.append)
    sys.stdout.write(problem_view.show(problem, runs[0] if runs else None) + "\n")


def find(source: str, chosen: str, max_bad_share: float) -> Problem:
    """Return the problem with this id. Raises `UserError` where the set has none."""
    for problem in stream(source, max_bad_share=max_bad_share):
        if problem.problem_id == chosen:
            return problem
    like = next(stream(source, max_bad_share=1)).problem_id
    raise UserError(f"{source}: no problem {chosen!r}; ids look like {like!r}")


def run_references(
    problems: Iterable[Problem],
    total: int,
    sandbox: SandboxOptions,
    note: Callable[[ReferenceRun], None],
) -> None:
    """Run `total` references and note each run, in the order of the problems.

    Raises `MissingEngine` without an engine or the image, and `SandboxFault` when the sandbox does
    not recover.
    """
    from sandbox.backend import choose, make_pool
    from sandbox.judge_files.batch import count_fault, sandbox_gone
    from sandbox.process_pool import WARNING

    console = open_console(stderr=True)
    config = SandboxConfig(backend=sandbox.backend, image=sandbox.image, containers=sandbox.jobs)
    backend = choose(config)
    if backend == "process":
        console.print(f"warning: {WARNING}", style="bold red")
    faults = sandbox_gone()
    in_flight = _IN_FLIGHT * sandbox.jobs

    async def command() -> None:
        with Phase(console, "references", total) as phase:
            async with make_pool(config, backend) as pool:
                async for run in reference_runs(problems, pool, in_flight=in_flight):
                    note(run)
                    phase.advance()
                    count_fault(faults, run.outcome, _fault(run))

    run_until_done(command())


def _fault(run: ReferenceRun) -> SandboxFault | None:
    return SandboxFault(run.detail) if run.outcome == "sandbox_fault" else None


def _token_counter(folder: str) -> Callable[[str], int]:
    if not Path(folder).is_dir():
        raise ConfigError(f"--tokenizer {folder}: no such folder; give one with a tokenizer.json")
    from stepcoder_dist.text.tokenization import load_tokenizer

    tokenizer = load_tokenizer(folder)
    return lambda text: len(tokenizer.encode(text)[0])
