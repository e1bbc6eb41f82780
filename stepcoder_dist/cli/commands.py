"""The `stepcoder` command: a thin shell. Heavy imports happen after the arguments are parsed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stepcoder_dist.cli import (
    data_commands,
    missing_extra,
    run_commands,
    sandbox_commands,
    unusable_file,
)
from stepcoder_dist.cli.data_commands import EndDate, SandboxBackend, SandboxImage, StartDate
from stepcoder_dist.cli.written import path_of, source_of
from stepcoder_dist.config import MOST_CONTAINERS
from stepcoder_dist.errors import Interrupted, StepcoderError, UserError, notes
from stepcoder_dist.host import interruption
from stepcoder_dist.host.files import disk_room

app = typer.Typer(
    help="Reinforcement learning from unit tests for code models: CCCS, FGO, Ray, vLLM, DeepSpeed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands.app, name="data")
app.add_typer(sandbox_commands.app, name="sandbox")
app.add_typer(run_commands.app)

RunFile = Annotated[
    Path, typer.Argument(parser=path_of, metavar="RUN.toml", help="A run file: deploy/runs/.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume at the last checkpoint.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=V", help="Override one key of the file. Repeat."),
]


def run(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code. A user's mistake is one line, never a traceback."""
    try:
        with interruption.handled():
            app(args=list(arguments), standalone_mode=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except StepcoderError as error:
        for line in "\n".join([str(error), *notes(error)]).splitlines():
            sys.stderr.write(f"stepcoder: {line}\n")
        return error.exit_code
    except Interrupted as stopped:
        sys.stderr.write(f"stepcoder: {stopped}\n")
        return stopped.exit_code
    except OSError as error:
        full = disk_room.is_refusal(error)
        if not full and not unusable_file.is_one(error):
            raise
        message = disk_room.refusal(error) if full else unusable_file.message(error)
        sys.stderr.write(f"stepcoder: {message}\n")
        return StepcoderError.exit_code if full else UserError.exit_code
    except ModuleNotFoundError as error:
        extra = missing_extra.message(error)
        if extra is None:
            raise
        sys.stderr.write(f"stepcoder: {extra}\n")
        return UserError.exit_code
    return 0


@app.command()
def train(
    run_file: RunFile,
    *,
    resume: Resume = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the config and stop.")] = False,
    overrides: Overrides = None,
) -> None:
    """Train the policy by RL. Also the entry point of `ray job submit`."""
    from stepcoder_dist.run import run_file as files

    settings = files.load(run_file, overrides or ())
    if dry_run:
        from stepcoder_dist.doctor.dry_run import report

        typer.echo(report(settings))
        return
    from stepcoder_dist.launch import train as command

    command.train(settings, resume=resume)


@app.command()
def sft(
    run_file: RunFile,
    *,
    resume: Resume = False,
    overrides: Overrides = None,
) -> None:
    """Warm-start the policy on the reference solutions."""
    from stepcoder_dist.launch import warm_start
    from stepcoder_dist.run import run_file as files

    warm_start.sft(files.load(run_file, overrides or ()), resume=resume)


@app.command("eval")
def evaluate(
    run_file: Annotated[
        Path | None,
        typer.Argument(parser=path_of, metavar="[RUN.toml]", help="A run file, unless --compare."),
    ] = None,
    *,
    model: Annotated[
        str,
        typer.Option(
            parser=source_of,
            metavar="FOLDER",
            help="Checkpoint folder; default: the run file's SFT checkpoint.",
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path_of,
            metavar="FILE.jsonl",
            help="Samples; default: runs/eval/NAME-MODEL.jsonl.",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            parser=path_of,
            metavar="A B",
            help="Compare two evaluations instead: files, or folders of `demo`.",
        ),
    ] = None,
    start_date: StartDate = "",
    end_date: EndDate = "",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    overrides: Overrides = None,
) -> None:
    """Measure pass@k on the held-out problems, by level; or compare two evaluations."""
    if compare is not None and run_file is None:
        if model or out or overrides or start_date or end_date:
            raise UserError("--compare judges nothing: leave out the options for judging")
        from stepcoder_dist.evaluation import comparison as evaluation_comparison
        from stepcoder_dist.host.console import open_console

        found = evaluation_comparison.compare(*compare)
        if as_json:
            typer.echo(json.dumps(evaluation_comparison.as_json(found)))
        else:
            table = evaluation_comparison.comparison_table(found)
            open_console().print(table)
    elif run_file is not None and compare is None:
        from stepcoder_dist.launch import evaluate as command
        from stepcoder_dist.run import run_file as files

        config = command.within(files.load(run_file, overrides or ()), start_date, end_date)
        command.evaluate(config, model, out, as_json=as_json)
    else:
        raise UserError("give either RUN.toml, to evaluate, or --compare A B")


@app.command()
def demo(
    run_file: RunFile,
    *,
    resume: Annotated[
        bool, typer.Option("--resume", help="Do only what an earlier call has not finished.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Run evaluation, RL, evaluation (and SFT before where it is missing): `make demo`."""
    from stepcoder_dist.launch import demo as command
    from stepcoder_dist.run import run_file as files

    command.demo(files.load(run_file, overrides or ()), resume=resume)


@app.command()
def ablate(
    ablation_file: Annotated[
        Path,
        typer.Argument(parser=path_of, metavar="ABLATION.toml", help="deploy/runs/ablation.toml."),
    ],
    *,
    setting: Annotated[str, typer.Option(metavar="S", help="This setting only.")] = "",
    arm: Annotated[str, typer.Option(metavar="A", help="This arm only; `sft`: untrained.")] = "",
    seed: Annotated[int | None, typer.Option(metavar="N", help="This seed only.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what is left and stop.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Tables and figures only.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Measure again; replace results.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Measure again; compare bit for bit, replace nothing.")
    ] = False,
) -> None:
    """Compare methods: arms x seeds, one kept result each; tables, intervals and figures."""
    from stepcoder_dist.ablation import plan as plans
    from stepcoder_dist.launch import ablate as command

    if dry_run + report + redo + check > 1:
        raise UserError("--dry-run, --report, --redo and --check exclude each other; give one")
    plan = plans.load(ablation_file)
    cells = plan.select(setting, arm, seed)
    if dry_run:
        command.list_cells(plan, cells)
    elif report:
        command.write_page(plan)
    else:
        command.ablate(plan, cells, redo=redo, check=check)


@app.command("methods")
def list_methods() -> None:
    """List every method and every rule that a run file can name, one line each."""
    from stepcoder_dist import methods

    for line in methods.listed():
        typer.echo(line)


@app.command()
def judge(
    *,
    problems: Annotated[
        Path, typer.Option(parser=path_of, metavar="P.jsonl", help="Problems with their tests.")
    ],
    programs: Annotated[
        Path, typer.Option(parser=path_of, metavar="C.jsonl", help="Programs to judge.")
    ],
    out: Annotated[
        Path, typer.Option(parser=path_of, metavar="V.jsonl", help="Where the verdicts go.")
    ],
    backend: SandboxBackend = "docker",
    jobs: Annotated[
        int, typer.Option(min=1, max=MOST_CONTAINERS, help="Programs judged at a time.")
    ] = 2,
    image: SandboxImage = "stepcoder-sandbox:latest",
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished --out.")] = False,
) -> None:
    """Judge a file of programs: one verdict a line, in any order."""
    from stepcoder_dist.launch import judge as command

    command.judge(problems, programs, out, backend=backend, jobs=jobs, image=image, resume=resume)


@app.command()
def doctor(
    run_file: Annotated[
        Path | None,
        typer.Argument(parser=path_of, metavar="[RUN.toml]", help="Also: can this file work here?"),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    overrides: Overrides = None,
) -> None:
    """Say what works on this machine, and how to fix the rest; 1 if RUN.toml cannot work here."""
    from stepcoder_dist.doctor import checkup, examination as frame
    from stepcoder_dist.run import run_file as files

    chosen = run_file or checkup.demo_file()
    found = []
    for finding in checkup.findings(files.load(chosen, overrides or ()), chosen):
        found.append(finding)
        if not as_json:
            typer.echo(finding)
    if as_json:
        typer.echo(frame.as_json(found, None if run_file is None else str(run_file)))
    elif run_file is not None:
        typer.echo(frame.summary(found, str(run_file)))
    if run_file is not None and not frame.works(found):
        raise typer.Exit(1)
