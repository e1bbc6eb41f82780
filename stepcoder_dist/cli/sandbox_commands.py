"""`stepcoder sandbox`: the sandbox by itself. Imports are as late as in `commands.py`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from stepcoder_dist.cli.data_commands import SandboxImage
from stepcoder_dist.cli.written import source_of
from stepcoder_dist.config import MOST_CONTAINERS, Backend, SandboxConfig

app = typer.Typer(help="The sandbox by itself.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `serve` a command of a group."""


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8080,
    problems: Annotated[
        str,
        typer.Option(
            parser=source_of, metavar="SET", help="Problems that clients may name by their ids."
        ),
    ] = "",
    backend: Annotated[
        Literal[Backend, "auto"], typer.Option(help="`process` is no security boundary.")
    ] = "auto",
    sockets: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Of `--backend attached`: where its guests listen."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=MOST_CONTAINERS, help="Programs judged at a time.")
    ] = 2,
    image: SandboxImage = "stepcoder-sandbox:latest",
    in_flight: Annotated[
        int, typer.Option(min=1, help="Programs that wait or run; one more is answered with 429.")
    ] = 64,
    body_mib: Annotated[int, typer.Option(min=1, help="The largest body.")] = 16,
    drain_s: Annotated[
        float, typer.Option(min=0, help="Seconds for what is in flight after SIGTERM.")
    ] = 30.0,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Serve everybody; on loopback only.")
    ] = False,
) -> None:
    """Judge programs over HTTP, until a signal. The token: STEPCODER_SANDBOX_TOKEN, or printed."""
    from stepcoder_dist.launch import serve_sandbox as command

    command.serve(
        SandboxConfig(backend=backend, sockets=sockets, image=image, containers=jobs),
        host=host,
        port=port,
        without_token=no_token,
        problems=problems,
        most_in_flight=in_flight,
        most_body_mib=body_mib,
        drain_s=drain_s,
    )
