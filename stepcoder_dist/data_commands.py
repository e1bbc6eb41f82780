"""`stepcoder data`: what can be asked of a problem set. Imports as late as `cli.py` does."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from stepcoder_dist.errors import UserError

app = typer.Typer(help="Problem sets.", no_args_is_help=True)


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, folder or ladder:<split>.")],
    *,
    problem: Annotated[str, typer.Option(metavar="ID", help="Show one problem.")] = "",
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Start points of every problem.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
    max_bad_share: Annotated[float, typer.Option(min=0, max=1)] = 0.0,
) -> None:
    """What is in a problem set, and where its start points are."""
    from rich.console import Console

    from stepcoder_dist import inspection
    from stepcoder_dist.problems import load

    if as_json != curriculum:
        raise UserError("--curriculum and --json go together: one object a problem, a line each")
    problems = load(file, max_bad_share=max_bad_share)
    if problem:
        chosen = [p for p in problems if p.problem_id == problem]
        if not chosen:
            raise UserError(
                f"{file}: no problem {problem!r}; ids look like {problems[0].problem_id!r}"
            )
        typer.echo(inspection.show(chosen[0]))
    elif curriculum and as_json:
        for row in inspection.curriculum_rows(problems):
            typer.echo(json.dumps(row))
    else:
        Console().print(inspection.summary(problems))
