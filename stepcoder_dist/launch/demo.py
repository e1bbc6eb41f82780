"""`stepcoder demo`: warm start, evaluation, RL, evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from stepcoder_dist import report
from stepcoder_dist.config import RunConfig
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.paired_gain import paired_gain
from stepcoder_dist.evaluation.pass_at_k import scores
from stepcoder_dist.evaluation.table import scores_table
from stepcoder_dist.host import model_source
from stepcoder_dist.host.interruption import StopRequest, run_until_done
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.evaluate import evaluate_in
from stepcoder_dist.launch.processes import console, open_pools, open_sandbox
from stepcoder_dist.launch.train import note, train_in
from stepcoder_dist.launch.warm_start import warm_start, warm_start_from
from stepcoder_dist.run.preflight import (
    fitting,
    load_set,
    prompt_writer,
    sft_checkpoint,
    without_given_code,
)
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks import trackers
from stepcoder_dist.run.sinks.metric_sinks import MetricSink
from stepcoder_dist.sft import folder as sft_folder
from stepcoder_dist.sft.examples import SftExamples

if TYPE_CHECKING:
    from sandbox.pool.executor_pool import ExecutorPool


def demo(config: RunConfig) -> None:
    """Run `stepcoder demo`. A model that is at model.sft_path already is not trained by SFT."""
    if config.model.sft_path and model_source.holds_model(config.sft_folder):
        with sft_folder.reading(config):
            _demo(config, sft_checkpoint(config), None)
    else:
        with sft_folder.writing(config):
            _demo(config, *warm_start_from(config))


def _demo(config: RunConfig, base: str, examples: SftExamples | None) -> None:
    problems = load_set(config, config.problems.train, console)
    heldout = load_set(config, config.problems.heldout, console)
    writer = prompt_writer(config, base)
    problems = fitting(config, problems, writer, console)
    heldout = fitting(without_given_code(config), heldout, writer, console)
    folder = RunFolder.fresh(config)
    stop = StopRequest()
    evaluated: dict[str, list[EvaluatedSample]] = {}

    async def command(tracked: Sequence[MetricSink]) -> None:
        async with open_sandbox(config) as sandbox:
            if examples is None:
                console.print(f"SFT: {config.sft_folder}, made before", highlight=False)
            else:
                await warm_start(config, base, examples)
            await evaluate_and_train(sandbox, tracked)
        ks = config.evaluation.k
        console.print(scores_table([(name, scores(each, ks)) for name, each in evaluated.items()]))
        if len(evaluated) > 1:
            gain = paired_gain(evaluated["SFT"], evaluated["RL"])
            console.print(f"RL over SFT: {gain}", highlight=False, soft_wrap=True)

    async def evaluate_and_train(sandbox: ExecutorPool, tracked: Sequence[MetricSink]) -> None:
        checkpoint = sft_checkpoint(config)
        async with open_pools(config, checkpoint, sandbox) as pools:

            async def evaluate_as(name: str) -> None:
                samples = await evaluate_in(config, heldout, writer, pools, f"eval {name}")
                folder.write_evaluation(name.lower(), samples)
                evaluated[name] = samples

            async def evaluate_trained() -> None:
                await evaluate_as("RL")

            await evaluate_as("SFT")
            await train_in(
                config,
                folder,
                problems,
                writer,
                pools,
                checkpoint,
                heldout=heldout,
                stop=stop,
                tracked=tracked,
                then=evaluate_trained,
            )

    with (
        closing(folder),
        trackers.opened(config, folder.path, note) as tracked,
        report.written_at_the_end(folder.path, console),
        ray_session(config),
    ):
        run_until_done(command(tracked), stop)
    console.print(f"run directory: {folder.path}", highlight=False)
