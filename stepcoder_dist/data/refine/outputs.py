"""The files that refining writes: the set, its report, its manifest. Each of them is atomic.

    apps_plus.jsonl             rows of our format (`problems/own_format.py`) with more fields
    refine_report.json          counts, and every row that was left out, changed or repaired, by id
    apps_plus.manifest.json     digests of source and set, options, versions, counts

The set comes last: it belongs to the manifest where the manifest has its digest.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.table import Table

from stepcoder_dist.data.refine.settled_file import SettledFile
from stepcoder_dist.data.refine.stages import Candidate, Reason, Stage
from stepcoder_dist.errors import UserError
from stepcoder_dist.host import installed
from stepcoder_dist.host.files import atomic_file, output_file
from stepcoder_dist.method.conditionals import conditional_lines
from stepcoder_dist.problems.assert_script import parse
from stepcoder_dist.problems.own_format import row_from_problem

REPORT = "refine_report.json"
_FIX = "fix that and continue with --resume"


@dataclass(slots=True, kw_only=True)
class Account:
    """Counts of what became of the rows."""

    out: Path
    report: Path
    rows: int = 0
    kept: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    """Rows left out, by `Reason`."""
    normalised: Counter[str] = field(default_factory=Counter)
    """Kept rows, by what was changed about their format."""
    stages: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each stage reports of the kept rows, by its name."""


def prepare(out: Path, read: Iterable[Path]) -> None:
    """Make the folder. Raises `UserError` where `out` cannot be the file of a refined set.

    `read`: the files that it is made from.
    """
    with output_file.writing(out, "choose another"):
        for source in read:
            output_file.refuse_to_replace(source, out)
        if out.is_dir():
            raise UserError(f"{out}: a folder; give --out a file, like {out / 'apps_plus.jsonl'}")
        if out.exists() and not out.is_file():
            raise UserError(f"{out}: a device or pipe, which --out would replace; choose a file")
        out.parent.mkdir(parents=True, exist_ok=True)


def row_of(found: Candidate) -> dict[str, Any]:
    """Return the row of a kept problem. Raises `ProblemError` where its tests cannot be written."""
    problem = found.problem
    row = row_from_problem(problem)
    row["tests_total"] = len(problem.tests)
    row["conditionals"] = conditionals(problem.reference)
    if found.normalised:
        row["normalised"] = list(found.normalised)
    return row | dict(found.notes)


def conditionals(source: str) -> list[tuple[int, int]]:
    """Return first and last line (1-based) of each statement of `conditional_lines`."""
    ends: dict[int, int] = {}
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.stmt):
            ends[node.lineno] = max(ends.get(node.lineno, 0), node.end_lineno or node.lineno)
    return [(line, ends[line]) for line in conditional_lines(source)]


def report(out: Path, source: str, settled: SettledFile, stages: Sequence[Stage]) -> Account:
    """Count what became of the rows and write the report. Raises `UserError`."""
    account = _account(out, settled, stages)
    with output_file.writing(account.report, _FIX), atomic_file.written(account.report) as file:
        _write_report(file, account, source, settled)
    return account


def write(account: Account, source: str, settled: SettledFile, about: Mapping[str, Any]) -> None:
    """Write the set and its manifest. Raises `UserError`."""
    out = account.out
    with output_file.writing(out, _FIX), atomic_file.written(out) as file:
        found = hashlib.sha256()
        for row in _kept_rows(settled):
            line = json.dumps(row) + "\n"
            found.update(line.encode("ascii"))
            file.write(line)
        file.flush()
        content = _manifest(account, source, about, found.hexdigest(), file.tell())
        with atomic_file.written(out.with_name(f"{out.stem}.manifest.json")) as manifest:
            manifest.write(json.dumps(content, indent=2) + "\n")


def table(account: Account) -> Table:
    """Return the account as a table."""
    shown = Table(title=f"{account.rows} rows: {account.kept} kept")
    shown.add_column("what became of them")
    shown.add_column("rows", justify="right")
    for reason in Reason:
        if account.removed[reason]:
            shown.add_row(f"left out: {reason}", str(account.removed[reason]))
    shown.add_section()
    shown.add_row("kept", str(account.kept))
    for change, count in sorted(account.normalised.items()):
        shown.add_row(f"  {change}", str(count))
    for figures in account.stages.values():
        for name, value in figures.items():
            if isinstance(value, int | float):
                shown.add_row(f"  {name}", f"{value:g}")
    return shown


def _account(out: Path, settled: SettledFile, stages: Sequence[Stage]) -> Account:
    account = Account(out=out, report=out.with_name(REPORT))
    for line in settled.rows():
        account.rows += 1
        if "row" in line:
            account.kept += 1
            account.normalised.update(line["normalised"])
        else:
            account.removed[line["reason"]] += 1
    account.stages = {stage.name: stage.tally(_kept_rows(settled)) for stage in stages}
    return account


def _kept_rows(settled: SettledFile) -> Iterator[dict[str, Any]]:
    return (line["row"] for line in settled.rows() if "row" in line)


def _counts(account: Account) -> dict[str, Any]:
    return {
        "rows": account.rows,
        "kept": account.kept,
        "left_out": {reason: account.removed[reason] for reason in Reason},
        "normalised": dict(sorted(account.normalised.items())),
    }


def _write_report(file: IO[str], account: Account, source: str, settled: SettledFile) -> None:
    """Write one JSON object; its lists go row by row, since a set can be larger than memory."""
    head = {"source": source, "counts": _counts(account), "stages": account.stages}
    file.write(json.dumps(head, indent=1).removesuffix("\n}"))
    left_out = (line for line in settled.rows() if "reason" in line)
    normalised = (
        {"id": line["id"], "changes": line["normalised"]}
        for line in settled.rows()
        if line.get("normalised")
    )
    for name, lines in (("left_out_rows", left_out), ("normalised_rows", normalised)):
        file.write(f',\n "{name}": [')
        for number, line in enumerate(lines):
            file.write(("," if number else "") + "\n  " + json.dumps(line))
        file.write("\n ]")
    file.write("\n}\n")


def _manifest(
    account: Account, source: str, about: Mapping[str, Any], sha256: str, length: int
) -> dict[str, Any]:
    options = {name: value for name, value in about.items() if name.startswith("--")}
    return {
        "source": {"path": source, **about["SRC"]},
        "options": options,
        "versions": {
            "stepcoder_dist": about["version of stepcoder_dist"],
            "python": platform.python_version(),
            "datasketch": installed.version("datasketch"),
        },
        "counts": _counts(account),
        "out": {"path": account.out.name, "bytes": length, "sha256": sha256},
    }
