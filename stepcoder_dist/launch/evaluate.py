"""`stepcoder eval`: pass@k of a checkpoint on the held-out problems."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import RunError
from stepcoder_dist.evaluation import file as evaluation_file, scores_file as evaluation_json
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.pass_at_k import scores
from stepcoder_dist.evaluation.roll_out import evaluate as evaluate_problems
from stepcoder_dist.evaluation.table import scores_table
from stepcoder_dist.host.console import Phase
from stepcoder_dist.host.files import output_file
from stepcoder_dist.host.interruption import run_until_done
from stepcoder_dist.host.model_source import find
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.processes import console, open_pools, open_sandbox
from stepcoder_dist.paths import runs_root
from stepcoder_dist.problems import source
from stepcoder_dist.records import Problem
from stepcoder_dist.run.preflight import (
    fitting,
    load_set,
    prompt_writer,
    sft_checkpoint,
    without_given_code,
)
from stepcoder_dist.run.session import Pools
from stepcoder_dist.sft import folder as sft_folder
from stepcoder_dist.text.program import PromptWriter


def within(config: RunConfig, start_date: str, end_date: str) -> RunConfig:
    """Return the config with the held-out problems of these days only; empty: no limit."""
    heldout = source.within(config.problems.heldout, start_date, end_date)
    problems = config.problems.model_copy(update={"heldout": heldout})
    return config.model_copy(update={"problems": problems})


def evaluate(config: RunConfig, model: str, out: Path | None, *, as_json: bool = False) -> None:
    """Run `stepcoder eval`.

    Raises `ConfigError` before anything starts, also where `out` cannot be written.
    """
    console.stderr = as_json  # standard output is the object's alone
    asked = load_set(config, config.problems.heldout, console)
    checkpoint = find(model).checked("fix --model").text if model else sft_checkpoint(config)
    name = Path(checkpoint).name
    out = output_file.prepare(
        out or runs_root() / "eval" / f"{config.name}-{name}.jsonl",
        "give a file in a folder of yours to --out",
    )
    writer = prompt_writer(config, checkpoint)
    problems = fitting(without_given_code(config), asked, writer, console)
    fit = {problem.problem_id for problem in problems}
    too_long = [problem.problem_id for problem in asked if problem.problem_id not in fit]

    async def command() -> None:
        async with (
            open_sandbox(config) as sandbox,
            open_pools(config, checkpoint, sandbox) as pools,
        ):
            samples = await evaluate_in(config, problems, writer, pools, "evaluation")
        found = scores(samples, config.evaluation.k)
        evaluation_file.write(out, samples)
        summary = json.dumps(evaluation_json.of_scores(config, checkpoint, out, found, too_long))
        evaluation_file.write_text(evaluation_json.beside(out), summary + "\n")
        if as_json:
            sys.stdout.write(summary + "\n")
        else:
            console.print(scores_table([(name, found)], too_long=len(too_long)))
            console.print(f"samples: {out}", highlight=False, soft_wrap=True)
        if all(sample.outcome is None for sample in samples):
            raise RunError("the sandbox failed on every sample: nothing was evaluated")

    with sft_folder.reading(config), ray_session(config, learner=False):
        run_until_done(command())


async def evaluate_in(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    title: str,
) -> list[EvaluatedSample]:
    """Evaluate the weights that pools hold which are open already."""
    total = len(problems) * config.evaluation.samples_per_problem
    with Phase(console, title, total) as phase:
        return await evaluate_problems(
            config, problems, writer, pools.sampler, pools.sandbox, phase.advance
        )
