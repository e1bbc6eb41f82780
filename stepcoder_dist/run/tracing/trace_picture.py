"""`stepcoder trace`: a run's `trace.jsonl` as a file for Perfetto, written as it is read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import atomic_file, json_lines
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.run.tracing import trace_rows
from stepcoder_dist.run.tracing.trace_events import events


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that was written."""

    path: Path
    events: int


def write(run_dir: Path, out: Path | None = None, *, last: int | None = None) -> Picture:
    """Write the run's trace to `out`, by default `trace.json.gz` in the run directory.

    `last`: only so many steps, the newest. The run may be live. Raises `ConfigError` where there
    are no rows, or a row is damaged.
    """
    source = run_dir / trace_rows.NAME
    newest = _newest_step(source)
    if newest is None:
        raise ConfigError(
            f"{run_dir}: no rows in {trace_rows.NAME}; a run writes one with each step, unless "
            "train.trace = false (runs of versions before it have none)"
        )
    path, count = out or run_dir / "trace.json.gz", 0
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give a file to --out")
    first = 0 if last is None else newest - last + 1
    try:
        with (
            atomic_file.written_bytes(path) as draft,
            gzip.GzipFile(filename="", fileobj=draft, mode="wb", mtime=0) as packed,
        ):
            packed.write(b'{"displayTimeUnit":"ms","traceEvents":[')
            for event in events(_rows(source, first)):
                packed.write(b",\n" if count else b"\n")
                packed.write(json.dumps(event, separators=(",", ":")).encode("ascii"))
                count += 1
            packed.write(b"\n]}\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); pass --out") from None
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{source}: damaged ({error})") from None
    return Picture(path, count)


def _newest_step(source: Path) -> int | None:
    """Return the last step that was recorded: what is after it has no step of its own."""
    newest = None
    for row in _rows(source, 0):
        if any(span[0] == "driver/steps" for span in row["spans"]):
            newest = int(row["step"])
    return newest


def _rows(source: Path, first: int) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(json_lines.complete(source), start=1):
        try:
            row = parsed(line)
            if row["step"] < first:
                continue
            trace_rows.page_of(row)
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{source}:{number}: damaged ({type(error).__name__}: {error}); remove the line"
            ) from None
        yield row
