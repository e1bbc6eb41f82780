"""Reading a run directory, also while the run works: incomplete and missing files are no errors.

Samples are read in one pass that keeps counts and the places of the detailed rows, not the rows:
the samples.jsonl of a long run is too large for the memory.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import UserError
from stepcoder_dist.host.files.json_file import is_figure, parsed
from stepcoder_dist.records import Outcome
from stepcoder_dist.run import heldout_rows

Row = dict[str, Any]

TRACES = ("config.toml", "metrics.jsonl", "samples.jsonl")
"""Files of a run directory; a folder with none of them is no run directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedRow:
    """The place of a detailed row (one with its program) in samples.jsonl, and what chooses it."""

    offset: int
    """Bytes from the start of the file to the row."""
    size: int
    """Bytes of the row."""
    step: int
    outcome: str


@dataclass(slots=True)
class SampleIndex:
    """samples.jsonl without its programs."""

    trained: int = 0
    tokens: int = 0
    levels: dict[str, str] = field(default_factory=dict)
    """Levels by problem."""
    groups: dict[str, dict[tuple[int, int], list[int]]] = field(default_factory=dict)
    """[passed, sampled] by problem and (step, stage)."""
    detailed: list[DetailedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Everything that a report is made from."""

    path: Path
    config_text: str
    config: Mapping[str, Any]
    metrics: Sequence[Mapping[str, float]]
    """One object a step, ascending, with finite numbers only. The scores of heldout.jsonl are part
    of it, and may have steps of their own, such as step 0."""
    samples: SampleIndex
    evaluations: Mapping[str, Sequence[Row]]
    """Rows of eval/<label>.jsonl; "sft" first."""
    unreadable: Mapping[str, int]
    """Lines that are no JSON objects of the expected kind or repeat a sample, by file."""
    updated: float | None
    """Time at which the last step was recorded, in seconds since 1970."""


def check_there(path: Path) -> None:
    """Raise `UserError` where there is no folder."""
    if not path.is_dir():
        raise UserError(
            f"{path}: no such run directory; `stepcoder train` prints its own at the end"
        )


def check_run(path: Path) -> None:
    """Raise `UserError` where a path is no run directory."""
    check_there(path)
    if not any((path / name).exists() for name in TRACES):
        raise UserError(
            f"{path}: not a run directory, it has none of {', '.join(TRACES)}; "
            "give the folder that `stepcoder train` wrote"
        )


def read_run(path: Path) -> RunRecord:
    """Read a run directory. Raises `UserError` where it is none."""
    check_run(path)
    unreadable: dict[str, int] = {}
    metrics_file = path / "metrics.jsonl"
    config_text = _text(path / "config.toml")
    return RunRecord(
        path=path.resolve(),
        config_text=config_text,
        config=_parsed(config_text),
        metrics=_metrics(metrics_file, path / heldout_rows.NAME, unreadable),
        samples=_index(path / "samples.jsonl", unreadable),
        evaluations={
            file.stem: [row for _, _, row in _rows(file, unreadable)]
            for file in sorted((path / "eval").glob("*.jsonl"), key=_sft_first)
        },
        unreadable=unreadable,
        updated=metrics_file.stat().st_mtime if metrics_file.exists() else None,
    )


def read_detailed(path: Path, places: Sequence[DetailedRow]) -> list[Row]:
    """Read the chosen rows of samples.jsonl, in the given order.

    One that is not there any more is left out: a run that resumes cuts the file.
    """
    if not places:
        return []
    with (path / "samples.jsonl").open("rb") as file:
        rows = []
        for place in places:
            file.seek(place.offset)
            with suppress(ValueError):
                rows.append(parsed(file.read(place.size)))
    return rows


def each_sample(path: Path) -> Iterator[Row]:
    """Yield the rows of samples.jsonl, one at a time; damaged lines are left out."""
    return (row for _, _, row in _rows(path / "samples.jsonl", {}))


def _rows(path: Path, unreadable: dict[str, int]) -> Iterator[tuple[int, int, Row]]:
    """Yield offset, size and object of every line that holds one; a sample is yielded once."""
    if not path.is_file():
        return
    offset = 0
    seen: set[str] = set()
    with path.open("rb") as file:
        for line in file:
            try:
                row = parsed(line)
            except ValueError:
                row = None
            name = str(row["sample_id"]) if isinstance(row, dict) and "sample_id" in row else ""
            if name in seen:
                _count(unreadable, path)
            elif isinstance(row, dict):
                seen.update([name] if name else [])
                yield offset, len(line), row
            # a last line without its end is being written
            elif line.strip() and line.endswith(b"\n"):
                _count(unreadable, path)
            offset += len(line)


def _count(unreadable: dict[str, int], path: Path) -> None:
    unreadable[path.name] = unreadable.get(path.name, 0) + 1


def _metrics(path: Path, heldout_file: Path, unreadable: dict[str, int]) -> list[dict[str, float]]:
    steps: dict[int, dict[str, float]] = {}
    for _, _, row in _rows(path, unreadable):
        figures = {key: value for key, value in row.items() if is_figure(value)}
        if "step" in figures:
            steps[int(figures["step"])] = figures
        else:
            _count(unreadable, path)
    for _, _, row in _rows(heldout_file, unreadable):
        step = row.get("step")
        if isinstance(step, int):
            steps.setdefault(step, {"step": step}).update(heldout_rows.figures_of(row))
        else:
            _count(unreadable, heldout_file)
    return [steps[step] for step in sorted(steps)]


def _index(path: Path, unreadable: dict[str, int]) -> SampleIndex:
    index = SampleIndex()
    for offset, size, row in _rows(path, unreadable):
        try:
            step, stage, problem = int(row["step"]), int(row["stage"]), str(row["problem_id"])
            outcome = str(Outcome(row["outcome"]))
            index.tokens += int(row.get("tokens", 0))
        except (KeyError, TypeError, ValueError, OverflowError):
            _count(unreadable, path)
            continue
        index.trained += 1
        index.levels.setdefault(problem, str(row.get("level", "")))
        group = index.groups.setdefault(problem, {}).setdefault((step, stage), [0, 0])
        group[0] += outcome == Outcome.PASSED
        group[1] += 1
        if "source" in row:
            index.detailed.append(DetailedRow(offset=offset, size=size, step=step, outcome=outcome))
    return index


def _sft_first(path: Path) -> tuple[bool, str]:
    return path.stem != "sft", path.stem


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
