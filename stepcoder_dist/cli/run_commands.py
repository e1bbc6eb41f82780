"""The commands about a run that exists: its folder, and a live one's `scale` and `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepcoder_dist.cli.written import path_of

app = typer.Typer()

RunFolder = Annotated[
    Path, typer.Argument(parser=path_of, metavar="RUN_DIR", help="What `train` wrote.")
]
RunName = Annotated[
    str,
    typer.Option("--run", metavar="NAME", help="A run's folder name; needed where several live."),
]
Address = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT", help="Of the Ray cluster. Default: RAY_ADDRESS, or this machine's."
    ),
]


@app.command()
def ledger(
    run_dir: RunFolder,
) -> None:
    """Prove that every sample of a run has exactly one fate; 1 where it does not balance."""
    from stepcoder_dist.report.run_reading import check_there
    from stepcoder_dist.run import ledger_report

    check_there(run_dir)
    report = ledger_report.report(run_dir)
    for line in report.lines:
        typer.echo(line)
    if not report.balances:
        raise typer.Exit(1)


@app.command()
def trace(
    run_dir: RunFolder,
    *,
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="FILE", help="Default: RUN_DIR/trace.json.gz."),
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the newest N steps.")
    ] = None,
) -> None:
    """Write what happened when in a run as a file for Perfetto (ui.perfetto.dev)."""
    from stepcoder_dist.report.run_reading import check_there
    from stepcoder_dist.run.tracing import trace_picture

    check_there(run_dir)
    picture = trace_picture.write(run_dir, out, last=last)
    typer.echo(f"trace: {picture.path} ({picture.events} events; open it at ui.perfetto.dev)")


@app.command()
def export(
    run_dir: RunFolder,
    step: Annotated[
        int, typer.Argument(metavar="STEP", help="The number of one of its checkpoints.")
    ],
    out: Annotated[Path, typer.Argument(parser=path_of, metavar="OUT", help="A new folder.")],
) -> None:
    """Write a checkpoint's policy as a Hugging Face folder."""
    from stepcoder_dist.launch import export as command

    command.export(run_dir, step, out)


@app.command()
def report(
    run_dir: RunFolder,
    *,
    out: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="FILE", help="Default: RUN_DIR/report.html."),
    ] = None,
) -> None:
    """Write one self-contained HTML page about a run, finished or not."""
    from stepcoder_dist import report as pages

    typer.echo(f"report: {pages.write(run_dir, out)}")


@app.command()
def samples(
    run_dir: RunFolder,
    sample_id: Annotated[
        str,
        typer.Argument(metavar="[SAMPLE_ID]", help="Default: list those that were kept in full."),
    ] = "",
    *,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Each token: trained or masked, its log-prob.")
    ] = False,
) -> None:
    """Show one sample of a run: which lines were given, executed, masked; token by token."""
    from stepcoder_dist.report import sample_text

    shown = sample_text.show(run_dir, sample_id, tokens=tokens) if sample_id else None
    for line in sample_text.listed(run_dir) if shown is None else shown:
        typer.echo(line)


@app.command()
def scale(
    *,
    rollouts: Annotated[
        int | None, typer.Option(metavar="N", help="So many rollout actors.")
    ] = None,
    sandboxes: Annotated[
        int | None, typer.Option(metavar="M", help="So many sandbox executors.")
    ] = None,
    run: RunName = "",
    address: Address = "",
    wait_for_nodes: Annotated[
        bool,
        typer.Option("--wait-for-nodes", help="Ray's autoscaler adds nodes that are not there."),
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long to wait.")
    ] = 900.0,
) -> None:
    """Resize the pools of a live run, from another shell or machine."""
    from stepcoder_dist.launch.control import commands

    commands.scale(
        run=run,
        rollouts=rollouts,
        sandboxes=sandboxes,
        address=address,
        wait_for_nodes=wait_for_nodes,
        timeout_s=timeout_s,
    )


@app.command()
def status(
    *,
    run: RunName = "",
    address: Address = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show the pools, the queues, the step and the bottleneck of a live run."""
    from stepcoder_dist.launch.control import commands

    commands.status(run=run, address=address, as_json=as_json)
