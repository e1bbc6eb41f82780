"""Evaluated samples as JSON lines: `stepcoder eval` and the demo write them, `--compare` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.host.files import atomic_file, output_file
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.records import Outcome

FAULT = "sandbox_fault"


def row_of(sample: EvaluatedSample) -> dict[str, Any]:
    """Return plain JSON data; an `outcome` of `sandbox_fault` means that there is no verdict."""
    return {
        "sample_id": sample.sample_id,
        "problem_id": sample.problem_id,
        "level": sample.level,
        "outcome": sample.outcome or FAULT,
        "tests_passed": sample.tests_passed,
        "tests_total": sample.tests_total,
        "executed_share": sample.executed_share,
        "source": sample.source,
    }


def sample_of(row: Mapping[str, Any]) -> EvaluatedSample:
    """Read what `row_of` wrote; an earlier version wrote fewer keys.

    Raises `KeyError` or `ValueError` for a row that is not of this kind.
    """
    return EvaluatedSample(
        sample_id=str(row["sample_id"]),
        problem_id=str(row["problem_id"]),
        level=str(row["level"]),
        source=str(row.get("source", "")),
        outcome=None if row["outcome"] == FAULT else Outcome(row["outcome"]),
        tests_passed=row.get("tests_passed", 0),
        tests_total=row.get("tests_total", 0),
        executed_share=row.get("executed_share"),
    )


def write(path: Path, samples: Sequence[EvaluatedSample]) -> None:
    """Write the samples, all or none. Raises `RunError`."""
    write_text(path, "".join(json.dumps(row_of(sample)) + "\n" for sample in samples))


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all. Raises `RunError`."""
    with output_file.writing(path, "make room, or choose another --out", RunError):
        atomic_file.write_text(path, text)


def read(path: Path) -> list[EvaluatedSample]:
    """Read the samples of a file or run folder.

    Raises `ConfigError` for a file that cannot be read or holds something else, and for one that
    has a sample twice: repeated samples would count as evidence.
    """
    found = found_in(path)
    try:
        text = found.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{found}: cannot be read: {error}") from None
    # no splitlines(): other programs leave U+2028 of a source as it is, which ends no line of JSON
    lines = text.removesuffix("\n").split("\n") if text else []
    samples = []
    lines_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            samples.append(sample_of(parsed(line)))
        except (KeyError, ValueError, TypeError):
            raise ConfigError(
                f"{found}:{number}: no evaluated sample; give what `stepcoder eval --out` wrote, "
                "or a run directory with eval/"
            ) from None
        first = lines_of.setdefault(samples[-1].sample_id, number)
        if first != number:
            raise ConfigError(
                f"{found}:{number}: the sample {samples[-1].sample_id} is in line {first} already; "
                "leave the repeated lines out"
            )
    if not samples:
        raise ConfigError(f"{found}: no sample in it; was the evaluation interrupted?")
    return samples


def found_in(path: Path) -> Path:
    """Return the file itself, or a run directory's evaluation: that after RL, else the only one.

    Raises `ConfigError` where there is none, or several and none after RL.
    """
    if not path.is_dir():
        return path
    files = sorted((path / "eval").glob("*.jsonl"))
    trained = path / "eval" / "rl.jsonl"
    if trained in files:
        return trained
    if len(files) != 1:
        if not files:
            raise ConfigError(f"{path}: no evaluation in it; name a file of `stepcoder eval`")
        names = ", ".join(file.name for file in files)
        raise ConfigError(f"{path}: eval/ has {names}; name one file")
    return files[0]
