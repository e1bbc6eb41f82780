"""`stepcoder ablate`: measure what is left of a plan, each cell in a process; then the tables."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from rich.table import Table

from stepcoder_dist.ablation import page, provenance, result
from stepcoder_dist.ablation.plan import Cell, Plan
from stepcoder_dist.ablation.result import Result
from stepcoder_dist.errors import ConfigError, Interrupted, RunError
from stepcoder_dist.evaluation.weak_tests import missing
from stepcoder_dist.host.files import output_file
from stepcoder_dist.launch.ablate_cell import measure
from stepcoder_dist.launch.processes import console
from stepcoder_dist.records import Problem
from stepcoder_dist.run.preflight import load_set, sft_checkpoint

_END_WAIT_S = 60
"""Seconds that a cell's process may take after a signal to close what it opened."""


def ablate(plan: Plan, cells: Sequence[Cell], *, redo: bool, check: bool) -> None:
    """Measure the cells that have no result yet (`redo`: all), and write the page.

    `check` measures and compares with the results instead. Raises `ConfigError` before anything
    starts, also for a result of another config, and `RunError` when cells failed or differ.
    """
    known = Inputs()
    left = []
    for cell in cells:
        sft_checkpoint(cell.config)
        known.problems(cell)
        output_file.prepare(cell.path, result.FIX_OUT)
        found = known.valid_result(cell) if not redo else None
        if check and found is None:
            raise ConfigError(f"{cell.path}: no result to check; run it without --check")
        if check or found is None:
            left.append(cell)
    if len(cells) == 1:
        for cell in left:
            _one(cell, known, check=check)
    else:
        console.print(f"{len(cells) - len(left)} of {len(cells)} measured before", highlight=False)
        _each_in_a_process(plan, left, ["--check"] if check else ["--redo"] if redo else [])
    if not check:
        write_page(plan)


class Inputs:
    """The problem sets, each loaded once, and what results are compared by."""

    def __init__(self) -> None:
        self._loaded: dict[object, list[Problem]] = {}

    def problems(self, cell: Cell) -> dict[str, list[Problem]]:
        """Return the problems by part: train, heldout, and weak where the setting has weak tests.

        Raises `ConfigError` where the weak tests are not those of the held-out problems.
        """
        sets = cell.config.problems
        parts = {"train": sets.train, "heldout": sets.heldout, "weak": cell.setting.weak_tests}
        loaded = {name: self._load(cell, spec) for name, spec in parts.items() if spec}
        if "weak" in loaded and (name := missing(loaded["heldout"], loaded["weak"])):
            raise ConfigError(
                f"setting {cell.setting.name}: weak_tests has no problem {name}, which "
                "problems.heldout has; give the same problems with other tests"
            )
        return loaded

    def _load(self, cell: Cell, spec: str) -> list[Problem]:
        sets = cell.config.problems
        key = (spec, sets.max_bad_share, sets.limit)
        if key not in self._loaded:
            self._loaded[key] = load_set(cell.config, spec, console)
        return self._loaded[key]

    def identity(self, cell: Cell) -> dict[str, object]:
        return result.identity(cell, self.problems(cell))

    def valid_result(self, cell: Cell) -> Result | None:
        """Return the cell's result; None where there is none.

        Raises `ConfigError` for one that was measured from something else.
        """
        if not cell.path.exists():
            return None
        found = result.read(cell.path)
        if changed := result.differences(found.identity, self.identity(cell)):
            raise ConfigError(
                f"{cell.path} was measured from something else: {'; '.join(changed[:4])}; set back "
                "what differs, or measure the cell again with --redo"
            )
        return found


def _one(cell: Cell, known: Inputs, *, check: bool) -> None:
    """Measure one cell here. Raises `RunError` when a check finds a difference."""
    identity = known.identity(cell)
    here = provenance.here_and_now()
    began = time.monotonic()
    measured, backend = measure(cell, known.problems(cell))
    made = Result(
        setting=cell.setting.name,
        arm=cell.arm,
        method=cell.method,
        seed=cell.seed,
        identity=identity,
        measured=measured,
        made_on={"wall_s": round(time.monotonic() - began, 1), **here, "sandbox": backend},
    )
    last = measured.evaluations[-1]
    score = f"pass@1 {last.pass_at_1:.1%} in {made.made_on['wall_s']:.0f} s"
    if not check:
        result.write(cell.path, made)
        console.print(f"{cell}: {score}: {cell.path}", highlight=False, soft_wrap=True)
        return
    before = result.read(cell.path)
    if different := result.not_the_same(before.measured, measured):
        raise RunError(
            f"{cell}: not the same again: {', '.join(different[:6])} differ "
            f"({len(different)} in all); {_explained(before, made)}"
        )
    console.print(f"{cell}: the same again, bit for bit ({score})", highlight=False)


def _explained(before: Result, now: Result) -> str:
    changed = [
        f"{key} {before.made_on[key]} there, {now.made_on[key]} here"
        for key in ("commit", "processor", "versions", "python", "sandbox")
        if key in before.made_on and before.made_on[key] != now.made_on[key]
    ]
    last, again = before.measured.evaluations[-1], now.measured.evaluations[-1]
    same = sum(a == b for a, b in zip(last.passed, again.passed, strict=True))
    agree = f"{same} of {len(last.passed)} held-out problems end alike"
    alike = "commit, processor, versions and sandbox are the same"
    return f"{agree}; {'; '.join(changed) or alike}"


def _each_in_a_process(plan: Plan, cells: Sequence[Cell], options: Sequence[str]) -> None:
    """Measure each cell in a fresh process, so that one that fails does not end the others.

    Raises `RunError` at the end when some failed.
    """
    failed = []
    for number, cell in enumerate(cells, start=1):
        console.rule(f"{number}/{len(cells)}  {cell}")
        command = [sys.executable, "-m", "stepcoder_dist", "ablate", str(plan.source)]
        code = _run_child([*command, *cell.selection, *options])
        if code:
            failed.append(cell)
            console.print(
                f"{cell}: failed (exit code {code}); the others continue", highlight=False
            )
    if failed:
        names = ", ".join(str(cell) for cell in failed)
        raise RunError(
            f"{len(failed)} of {len(cells)} cells failed: {names}; call the command again"
        )


def _run_child(command: Sequence[str]) -> int:
    """Run to the end; pass a signal to this process on to the child, once, and wait for it."""
    with subprocess.Popen(command, start_new_session=True) as child:  # noqa: S603 - ourselves
        try:
            return child.wait()
        except Interrupted as stopped:
            child.send_signal(stopped.exit_code - 128)
            try:
                child.wait(_END_WAIT_S)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            raise


def list_cells(plan: Plan, cells: Sequence[Cell]) -> None:
    """Print which cells are measured and which are left.

    Raises `ConfigError` as `ablate` does, except for results of another config: they are listed.
    """
    known = Inputs()
    table = Table("setting", "arm", "seed", "samples", "result", title=str(plan.source))
    done = 0
    for cell in cells:
        sft_checkpoint(cell.config)
        known.problems(cell)
        try:
            found = known.valid_result(cell)
            state = "left" if found is None else f"done in {found.made_on['wall_s']:.0f} s"
            done += found is not None
        except ConfigError:
            state = "of another config, or damaged (--redo replaces it)"
        samples = cell.config.derived()["samples_in_run"] if cell.seed is not None else 0
        seed = "" if cell.seed is None else str(cell.seed)
        table.add_row(cell.setting.name, cell.arm, seed, str(samples), state)
    console.print(table)
    console.print(f"{done} of {len(cells)} done; results in {plan.out}", highlight=False)


def write_page(plan: Plan) -> None:
    """Write tables and figures of the results so far; those of another config are left out."""
    known = Inputs()
    results: dict[str, list[Result]] = {}
    for cell in plan.cells:
        try:
            found = known.valid_result(cell)
        except ConfigError as error:
            console.print(f"left out: {error}", highlight=False, soft_wrap=True)
            continue
        if found is not None:
            results.setdefault(cell.setting.name, []).append(found)
    if not results:
        raise ConfigError(f"{plan.out}: no result yet; call `stepcoder ablate {plan.source}`")
    *figures, written = page.write(plan, results)
    console.print(f"{written}, {len(figures)} figures", highlight=False, soft_wrap=True)
