"""`stepcoder report`: a run directory as one self-contained HTML page (docs/report.md).

    run_reading ─► page_data ─► page ─► report.html
    files, broken   plain JSON   page.html + page.css + *.js
    or missing      by section   and the data, nothing fetched

The page draws itself in the browser from one block of JSON. This package decides what is in the
block, and how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from stepcoder_dist.errors import UserError


def write(run_dir: Path, out: Path | None = None, *, live: bool | None = None) -> Path:
    """Write the page and return its path: `out`, or `report.html` in the run directory.

    `live`: the page reads itself again while the run works; by default where a run holds the
    folder. Raises `UserError` where `run_dir` is no run directory or `out` cannot be written.
    """
    from stepcoder_dist.host.files import atomic_file, output_file
    from stepcoder_dist.report.page import render
    from stepcoder_dist.report.page_data import page_data
    from stepcoder_dist.report.run_reading import read_run
    from stepcoder_dist.run.run_folder import is_live

    target = out or run_dir / "report.html"
    if target.is_dir():
        raise UserError(f"{target}: is a folder; give a file to --out")
    live = is_live(run_dir) if live is None else live
    text = render(page_data(read_run(run_dir), live=live))
    with output_file.writing(target, "choose another --out"):
        atomic_file.write_text(target, text)
    return target


@contextmanager
def written_at_the_end(run_dir: Path, console: Console) -> Iterator[None]:
    """Write the page of a run when the run ends, however it ends."""
    try:
        yield
    finally:
        if (run_dir / "metrics.jsonl").exists():
            try:
                console.print(f"report: {write(run_dir, live=False)}", highlight=False)
            # whatever the error is: a page about a run must not fail the run
            except Exception as error:  # noqa: BLE001
                console.print(f"no report ({error}); try `stepcoder report {run_dir}`")
