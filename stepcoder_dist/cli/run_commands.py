"""The commands about a run that exists: `ledger`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepcoder_dist.cli.written import path_of

app = typer.Typer()


@app.command()
def ledger(
    run_dir: Annotated[
        Path, typer.Argument(parser=path_of, metavar="RUN_DIR", help="What `train` wrote.")
    ],
) -> None:
    """Prove that every sample of a run has exactly one fate; 1 where it does not balance."""
    from stepcoder_dist.run import ledger_report

    report = ledger_report.report(run_dir)
    for line in report.lines:
        typer.echo(line)
    if not report.balances:
        raise typer.Exit(1)
