"""`stepcoder data`: commands about problem sets. Imports are as late as in `commands.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from stepcoder_dist.cli.written import path_of, source_of
from stepcoder_dist.config import MOST_CONTAINERS
from stepcoder_dist.errors import UserError

app = typer.Typer(help="Problem sets.", no_args_is_help=True)

SandboxBackend = Annotated[
    Literal["docker", "bubblewrap", "process"],  # `attached` needs sockets: run files, `serve`
    typer.Option(help="`process` is no security boundary."),
]
SandboxImage = Annotated[str, typer.Option(help="Sandbox image.")]
StartDate = Annotated[
    str, typer.Option(metavar="YYYY-MM-DD", help="Only rows from that day on (LiveCodeBench).")
]
EndDate = Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="Only rows up to that day.")]
MaxBadShare = Annotated[
    float, typer.Option(min=0, max=1, help="Leave out bad rows, up to this share of all.")
]


@app.command()
def inspect(
    file: Annotated[
        str,
        typer.Argument(
            parser=source_of,
            metavar="FILE",
            help="A file, folder, hf://datasets/… or ladder:<split>.",
        ),
    ],
    *,
    problem: Annotated[str, typer.Option(metavar="ID", help="Show one problem.")] = "",
    curriculum: Annotated[
        bool, typer.Option("--curriculum", help="Start points of every problem.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="The table as an object; --curriculum as one for each line."),
    ] = False,
    run: Annotated[
        bool, typer.Option("--run", help="Run the references: do they pass, what do tests reach?")
    ] = False,
    backend: SandboxBackend = "docker",
    jobs: Annotated[
        int, typer.Option(min=1, max=MOST_CONTAINERS, help="References run at a time.")
    ] = 2,
    image: SandboxImage = "stepcoder-sandbox:latest",
    tokenizer: Annotated[
        str,
        typer.Option(
            parser=source_of, metavar="FOLDER", help="Also lengths in this checkpoint's tokens."
        ),
    ] = "",
    max_bad_share: MaxBadShare = 0.0,
    start_date: StartDate = "",
    end_date: EndDate = "",
) -> None:
    """Show what is in a problem set, what its tests reach, and where its start points are."""
    from stepcoder_dist.launch import inspect_set as command
    from stepcoder_dist.problems.source import within

    file = within(file, start_date, end_date)
    if run and curriculum:
        raise UserError("--curriculum runs nothing: leave out --run")
    if problem and as_json and not curriculum:
        raise UserError("--problem shows text; add --curriculum for its start points as JSON")
    sandbox = command.SandboxOptions(backend=backend, jobs=jobs, image=image) if run else None
    if curriculum:
        command.show_curriculum(file, problem, as_json=as_json, max_bad_share=max_bad_share)
    elif problem:
        command.show_problem(file, problem, max_bad_share=max_bad_share, sandbox=sandbox)
    else:
        command.show_set(
            file,
            as_json=as_json,
            tokenizer=tokenizer,
            max_bad_share=max_bad_share,
            sandbox=sandbox,
        )


@app.command()
def overlap(
    training: Annotated[
        str, typer.Argument(parser=source_of, metavar="TRAIN", help="The set that is trained on.")
    ],
    evaluated: Annotated[
        str, typer.Argument(parser=source_of, metavar="EVAL", help="The set that is evaluated.")
    ],
    *,
    n: Annotated[
        int, typer.Option("--ngram", metavar="N", min=1, help="Tokens of an n-gram.")
    ] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="One object, problem by problem.")
    ] = False,
    max_bad_share: MaxBadShare = 0.0,
) -> None:
    """Measure how much of EVAL's solutions is in TRAIN's: lines and n-grams, and where."""
    import json

    from stepcoder_dist.data.overlap import table as overlap_table

    found = overlap_table.compare(training, evaluated, n=n, max_bad_share=max_bad_share)
    if as_json:
        typer.echo(json.dumps(overlap_table.as_json(found)))
    else:
        overlap_table.print_tables(found)


@app.command()
def refine(
    source: Annotated[
        str,
        typer.Argument(
            parser=source_of, metavar="SRC", help="A published set (data formats), or our rows."
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option(parser=path_of, metavar="FILE.jsonl", help="Where the refined set goes.")
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(
            parser=source_of,
            metavar="FILE",
            help="An evaluation set: leave out what is in it. Repeat.",
        ),
    ] = None,
    repair: Annotated[
        Literal["no", "majority"],
        typer.Option(help="Correct outputs that 3 or more accepted solutions agree to be wrong."),
    ] = "no",
    augment: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Add tests that notice more wrong programs, until a problem has N.",
        ),
    ] = 0,
    near_duplicate: Annotated[
        float, typer.Option(min=0, max=1, help="Jaccard similarity; 0: only exact duplicates.")
    ] = 0.85,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            parser=path_of, metavar="FOLDER", help="The model's tokenizer, for --max-tokens."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The model's context: statement and reference.")
    ] = None,
    max_bad_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Most broken rows; rows left out for other reasons do not count."
        ),
    ] = 0.5,
    backend: SandboxBackend = "docker",
    image: SandboxImage = "stepcoder-sandbox:latest",
    jobs: Annotated[
        int, typer.Option(min=1, max=MOST_CONTAINERS, help="Containers; two at least.")
    ] = 2,
    start_date: StartDate = "",
    end_date: EndDate = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where it was stopped.")
    ] = False,
) -> None:
    """APPS to APPS+: keep the problems that can be trained on; count and name the others."""
    from stepcoder_dist.launch import refine as command
    from stepcoder_dist.problems.source import within

    options = command.Options(
        against=tuple(against or ()),
        repair=repair,
        augment=augment,
        near_duplicate=near_duplicate,
        tokenizer=tokenizer,
        max_tokens=max_tokens,
        max_bad_share=max_bad_share,
        backend=backend,
        image=image,
        jobs=jobs,
        resume=resume,
    )
    command.refine(within(source, start_date, end_date), out, options)


@app.command()
def formats(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False,
) -> None:
    """List the formats of published sets that are known, and the keys they are recognised by."""
    import json

    from stepcoder_dist.data.inspect import formats_table

    if as_json:
        typer.echo(json.dumps(formats_table.as_json()))
    else:
        formats_table.print_table()
