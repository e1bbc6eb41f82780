"""`stepcoder train`: RL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial

from stepcoder_dist import report
from stepcoder_dist.config import RunConfig
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.weak_tests import judged_weakly
from stepcoder_dist.host.interruption import StopRequest, run_until_done
from stepcoder_dist.launch.cluster.ray_metrics import RayMetrics
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.control.answers import RunControl
from stepcoder_dist.launch.control.autoscaler import Autoscaler
from stepcoder_dist.launch.control.channel import answering
from stepcoder_dist.launch.evaluate import evaluate_in
from stepcoder_dist.launch.learner_restarts import Attempt, with_restarts
from stepcoder_dist.launch.live_report import LiveReport
from stepcoder_dist.launch.processes import console, open_learner, open_pools, open_sandbox
from stepcoder_dist.launch.warm_start import warm_start, warm_start_from
from stepcoder_dist.loop.run import LastStep, Run, nothing
from stepcoder_dist.records import Problem, WeightVersion
from stepcoder_dist.run import session
from stepcoder_dist.run.digests import sources
from stepcoder_dist.run.heldout_scores import HeldoutScores, by_no_weak_tests, slice_of
from stepcoder_dist.run.preflight import (
    fitting,
    load_set,
    load_weak_tests,
    needs_warm_start,
    prompt_writer,
    sft_checkpoint,
    tell_about_ray_job,
    tell_if_heldout_is_trained,
    tell_if_the_policy_stands_still,
    without_given_code,
)
from stepcoder_dist.run.run_folder import RunFolder, checkpoints
from stepcoder_dist.run.session import Pools
from stepcoder_dist.run.sinks import trackers
from stepcoder_dist.run.sinks.metric_sinks import JsonLines, MetricSink, TensorBoard
from stepcoder_dist.sft import folder as sft_folder
from stepcoder_dist.sft.examples import SftExamples
from stepcoder_dist.text.program import PromptWriter

_PROBE_TOKENS = 256

note = partial(console.print, highlight=False, soft_wrap=True)
"""Prints a line for the user."""


def train(config: RunConfig, *, resume: bool) -> None:
    """Run `stepcoder train`; a tiny model without a warm start gets one first."""
    if needs_warm_start(config) and not resume:
        with sft_folder.writing(config):
            base, examples = warm_start_from(config)
            _train(config, base, examples)
    else:
        with sft_folder.reading(config):
            _train(config, sft_checkpoint(config), None, resume=resume)


def _train(
    config: RunConfig, base: str, examples: SftExamples | None, *, resume: bool = False
) -> None:
    problems = load_set(config, config.problems.train, console)
    writer = prompt_writer(config, base)
    problems = fitting(config, problems, writer, console)
    heldout = _asked_during_training(config, writer)
    tell_if_heldout_is_trained("problems.train", problems, heldout, console)
    weak = load_weak_tests(config, heldout, console)
    tell_about_ray_job(config, console)
    tell_if_the_policy_stands_still(config, console)
    stop = StopRequest()
    opened = RunFolder.latest if resume else RunFolder.fresh
    made_from: Mapping[str, str] | None = None

    async def command(folder: RunFolder, tracked: Sequence[MetricSink]) -> None:
        async with open_sandbox(config) as sandbox:
            if examples is not None:
                await warm_start(config, base, examples)
            checkpoint = sft_checkpoint(config)
            async with open_pools(config, checkpoint, sandbox) as pools:
                await train_in(
                    config,
                    folder,
                    problems,
                    writer,
                    pools,
                    checkpoint,
                    heldout=heldout,
                    weak=weak,
                    made_from=made_from,
                    resume=resume,
                    stop=stop,
                    tracked=tracked,
                )

    with closing(opened(config)) as folder:
        if resume:
            made_from = sources(problems, sft_checkpoint(config))
            check_resumable(config, folder, made_from)
        with (
            trackers.opened(config, folder.path, note) as tracked,
            report.written_at_the_end(folder.path, console),
            ray_session(config),
        ):
            run_until_done(command(folder, tracked), stop)
    console.print(f"run directory: {folder.path}", highlight=False)


def _asked_during_training(config: RunConfig, writer: PromptWriter) -> list[Problem]:
    """Return the held-out problems that fit, as `stepcoder eval` does; none without evaluations."""
    if not config.evaluation.every:
        return []
    heldout = load_set(config, config.problems.heldout, console)
    return fitting(without_given_code(config), heldout, writer, console)


def check_resumable(
    config: RunConfig, folder: RunFolder, made_from: Mapping[str, str], *, done_too: bool = False
) -> None:
    """Check the newest checkpoint before anything starts.

    Raises `UserError` for one that the run cannot be resumed from; unless `done_too`, also for one
    of its last step.
    """
    from learner.saving import manifest

    session.saved_state(config, folder, made_from, done_too=done_too)
    newest = checkpoints(folder.path)[-1]
    saved = manifest.verify(newest / "learner", config, contents=False)
    if saved.ranks != config.learner.ranks:
        console.print(
            f"{newest.name} was written by {saved.ranks} learner ranks and is read by "
            f"{config.learner.ranks}: the same state, but sums are taken in another order from "
            "here on",
            highlight=False,
            soft_wrap=True,
        )


async def train_in(
    config: RunConfig,
    folder: RunFolder,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    checkpoint: str,
    *,
    heldout: Sequence[Problem] = (),
    weak: Sequence[Problem] = (),
    made_from: Mapping[str, str] | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
    tracked: Sequence[MetricSink] = (),
    between_steps: Callable[[WeightVersion], Awaitable[None]] = nothing,
    then: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Train by RL with pools that are open already.

    * `made_from`: the run's `sources`, where they are known.
    * `heldout`: what evaluations during training choose from, where `evaluation.every` asks for
      them. Without it `between_steps` is `Run.between_steps`. `weak`: the same with tests like
      those of training, which evaluated programs are judged by too.
    * `tracked`: sinks of the caller's, which stay open.
    * `then`: awaited at the end, while the actors hold the final weights.
    """
    probe = _known_text(config, writer, problems)
    made_from = made_from or sources(problems, checkpoint)

    async def with_one_learner(attempt: Attempt) -> None:
        if config.colocate:
            await pools.sampler.rest()  # loading needs the shared GPUs; the first push wakes it
        async with open_learner(config, checkpoint, probe) as learner, learner.watched():
            run = session.compose(config, problems, writer, pools, learner, stop, made_from)
            run.between_steps = between_steps
            attempt.run = run
            if attempt.resume:
                await session.restore(run, folder)
            await _train_run(run, folder, pools, heldout, tracked, then, weak)

    await with_restarts(config, folder, with_one_learner, note, resume=resume)


async def _train_run(
    run: Run,
    folder: RunFolder,
    pools: Pools,
    heldout: Sequence[Problem],
    tracked: Sequence[MetricSink],
    then: Callable[[], Awaitable[None]] | None,
    weak: Sequence[Problem],
) -> None:
    """Train a run whose learner is up, into the folder and what shows it live."""
    config = run.config
    own: list[MetricSink] = [
        JsonLines(folder.path / "metrics.jsonl"),
        TensorBoard(folder.path / "tensorboard", after_step=run.book.version),
        RayMetrics(),
        LiveReport(folder.path, config.train.report_every_s),
    ]
    sinks = [*own, *tracked]
    if config.evaluation.every and heldout:
        asked = slice_of(config, heldout)

        async def ask(title: str) -> list[EvaluatedSample]:
            return await evaluate_in(config, asked, run.writer, pools, title)

        by_id = {problem.problem_id: problem for problem in weak}
        judge_weakly = partial(judged_weakly, weak=by_id, sandbox=pools.sandbox)
        scores = HeldoutScores(
            config, folder, sinks[1:], ask, console, judge_weakly if weak else by_no_weak_tests
        )
        run.between_steps, run.is_due = scores.after_step, scores.is_due
    try:
        async with _elastic(run, folder, pools) as after_step:
            await session.train(run, folder, sinks, console, after_step=after_step)
        if then is not None:
            await then()
    finally:
        for sink in own:
            sink.close()


@asynccontextmanager
async def _elastic(
    run: Run, folder: RunFolder, pools: Pools
) -> AsyncIterator[Callable[[LastStep], None]]:
    """Answer `stepcoder scale` and `status` while the run trains; resize what is to be autoscaled.

    Yields what has to hear of every step.
    """
    if pools.rollouts is None or pools.executors is None:
        yield session.ignored
        return
    sizable = {"rollouts": pools.rollouts, "sandboxes": pools.executors}
    control = RunControl(run, folder.path, sizable)
    async with (
        answering(folder.path.name, control.answer),
        Autoscaler.opened(run.config, control, run.sizes, note) as scaler,
    ):
        yield scaler.after_step


def _known_text(config: RunConfig, writer: PromptWriter, problems: Sequence[Problem]) -> list[int]:
    """Return tokens of a prompt with its reference, on which pushes are checked.

    Empty in float32, where nothing is rounded, and without a reference.
    """
    if config.model.dtype == "float32":
        return []
    for problem in problems:
        if problem.reference:
            example = writer.example(problem)
            ids = [*example.prompt_ids.tolist(), *example.completion_ids.tolist()]
            return ids[: min(_PROBE_TOKENS, config.model.max_tokens - 1)]
    return []
