"""The composition root: the only file that knows every role. Each function is one command.

A command reads and checks everything that a user can get wrong first, then opens the processes
it needs (`open_pools`, `open_learner`), hands them to the core, and closes what it opened.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from stepcoder_dist import evaluation_file, report, sft_folder, training
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.evaluation import EvaluatedSample, scores
from stepcoder_dist.evaluation import evaluate as evaluate_problems
from stepcoder_dist.interruption import StopRequest, run_until_done
from stepcoder_dist.metric_sinks import JsonLines, MetricSink, TensorBoard
from stepcoder_dist.paired_gain import paired_gain
from stepcoder_dist.preflight import (
    existing,
    fitting,
    load_set,
    needs_warm_start,
    prompt_writer,
    sft_checkpoint,
    sft_examples,
    tell_about_ray_job,
    without_given_code,
)
from stepcoder_dist.program import PromptWriter
from stepcoder_dist.progress import Phase
from stepcoder_dist.ray_session import RayMetrics, ray_session
from stepcoder_dist.records import Problem, SftExample
from stepcoder_dist.report_table import scores_table
from stepcoder_dist.run_file import load as load_config
from stepcoder_dist.run_folder import RunFolder, checkpoints
from stepcoder_dist.runs_root import runs_root
from stepcoder_dist.training import Pools

if TYPE_CHECKING:
    from learner.learner_group import LearnerGroup

console = Console() if sys.stdout.isatty() else Console(width=120)


@asynccontextmanager
async def open_pools(config: RunConfig, checkpoint: str) -> AsyncIterator[Pools]:
    """Start the rollout and sandbox pools together; close both whatever happens."""
    from actors.actor_pool import ActorPool
    from sandbox.executor_pool import ExecutorPool

    async with AsyncExitStack() as stack:
        executor = ExecutorPool(config)
        stack.push_async_callback(executor.close)
        sampler = ActorPool(config, checkpoint)
        stack.push_async_callback(sampler.close)
        await asyncio.gather(executor.start(), sampler.start())
        yield Pools(sampler, executor)


@asynccontextmanager
async def open_learner(config: RunConfig, checkpoint: str) -> AsyncIterator[LearnerGroup]:
    """Start the learner's ranks; close them whatever happens."""
    from learner.learner_group import LearnerGroup

    learner = LearnerGroup(config, checkpoint)
    try:
        await learner.start()
        yield learner
    finally:
        await learner.close()


def check_sandbox(config: RunConfig) -> None:
    """Say which backend judges. Raises `MissingEngine` before anything is started."""
    from sandbox.backend import choose
    from sandbox.process_executor import WARNING

    if choose(config.sandbox) == "process":
        console.print(f"warning: {WARNING}", style="bold red")
    else:
        console.print(f"sandbox: Docker containers of {config.sandbox.image}", highlight=False)


# ── train ────────────────────────────────────────────────────────────────────────────────────


def train(config: RunConfig, *, resume: bool) -> None:
    """`stepcoder train`; a tiny model that was never warmed up is warmed up first."""
    if needs_warm_start(config) and not resume:
        with sft_folder.writing(config):
            base, phases = warm_start_from(config)
            _train(config, base, phases)
    else:
        with sft_folder.reading(config):
            _train(config, sft_checkpoint(config), None, resume=resume)


def _train(
    config: RunConfig, base: str, phases: list[list[SftExample]] | None, *, resume: bool = False
) -> None:
    problems = load_set(config, config.problems.train, console)
    writer = prompt_writer(config, base)
    problems = fitting(config, problems, writer, console)
    check_sandbox(config)
    tell_about_ray_job(config, console)
    stop = StopRequest()
    opened = RunFolder.latest if resume else RunFolder.fresh

    async def command(folder: RunFolder) -> None:
        if phases is not None:
            await warm_start(config, base, phases)
        checkpoint = sft_checkpoint(config)
        async with open_pools(config, checkpoint) as pools:
            await train_in(
                config, folder, problems, writer, pools, checkpoint, resume=resume, stop=stop
            )

    with closing(opened(config)) as folder:
        if resume:
            check_resumable(config, folder)
        with report.written_at_the_end(folder.path, console), ray_session(config):
            run_until_done(command(folder), stop)
    console.print(f"run directory: {folder.path}", highlight=False)


def check_resumable(config: RunConfig, folder: RunFolder) -> None:
    """Raises `UserError` for a checkpoint that cannot be gone on with, before anything starts."""
    from learner import manifest

    training.saved_state(config, folder)
    newest = checkpoints(folder.path)[-1]
    manifest.verify(newest / "learner", config, contents=False)


async def train_in(
    config: RunConfig,
    folder: RunFolder,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    checkpoint: str,
    *,
    resume: bool = False,
    stop: StopRequest | None = None,
    then: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """RL with pools that are open already; `then` runs while the final weights are at hand."""
    if config.colocate:
        await pools.sampler.rest()  # loading needs the shared GPUs; the first push wakes it
    async with open_learner(config, checkpoint) as learner:
        run = training.compose(config, problems, writer, pools, learner, stop)
        if resume:
            await training.restore(run, folder)
        sinks: list[MetricSink] = [
            JsonLines(folder.path / "metrics.jsonl"),
            TensorBoard(folder.path / "tensorboard", after_step=run.version),
            RayMetrics(),
        ]
        try:
            await training.train(run, folder, sinks, console)
            if then is not None:
                await then()
        finally:
            for sink in sinks:
                sink.close()


# ── sft, eval, demo ──────────────────────────────────────────────────────────────────────────


def sft(config: RunConfig) -> None:
    """`stepcoder sft`."""
    with sft_folder.writing(config):
        base, phases = warm_start_from(config)
        tell_about_ray_job(config, console)
        with ray_session(config, pools=False):
            run_until_done(warm_start(config, base, phases))
    console.print(f"checkpoint: {config.sft_folder}", highlight=False)


def warm_start_from(config: RunConfig) -> tuple[str, list[list[SftExample]]]:
    """The base checkpoint and each phase's examples. Raises `ConfigError` and `ProblemError`."""
    if config.sft_folder == config.model.path:
        raise ConfigError(
            f"SFT would replace its base {config.model.path}; set model.sft_path to a new folder"
        )
    problems = load_set(config, config.problems.sft or config.problems.train, console)
    base = base_checkpoint(config)
    return base, sft_examples(config, problems, prompt_writer(config, base))


async def warm_start(config: RunConfig, base: str, phases: list[list[SftExample]]) -> None:
    """Supervised fine-tuning on the reference solutions, into `config.sft_folder`."""
    from learner import sft as learner_sft

    legs = learner_sft.plan(config.sft, [len(examples) for examples in phases], config.seed)
    with Phase(console, "SFT", sum(leg.steps for leg in legs)) as phase:

        def on_step(progress: learner_sft.SftProgress) -> None:
            last = progress.last
            phase.advance(f"loss {last.loss:.3f}  {last.tokens_per_s:,.0f} tokens/s")

        out = Path(config.sft_folder).resolve()
        await learner_sft.run_sft(config, phases, out, base, on_step)


def base_checkpoint(config: RunConfig) -> str:
    """What SFT starts from; the tiny model is made when it is asked for."""
    if config.model.tiny is None:
        return existing(config.model.path, "mend model.path")
    from learner import tiny_model
    from stepcoder_dist import ladder

    base = Path(f"{config.sft_folder}-base").resolve()
    ladder.write_tokenizer(base)
    tiny_model.create(config.model.tiny, base, base, seed=config.seed, dtype=config.model.dtype)
    return str(base)


def evaluate(config: RunConfig, model: str, out: Path | None) -> None:
    """`stepcoder eval`. Raises `ConfigError` before anything starts, also where `out` cannot be."""
    problems = load_set(config, config.problems.heldout, console)
    checkpoint = existing(model, "mend --model") if model else sft_checkpoint(config)
    name = Path(checkpoint).name
    out = evaluation_file.prepare(out or runs_root() / "eval" / f"{config.name}-{name}.jsonl")
    writer = prompt_writer(config, checkpoint)
    problems = fitting(without_given_code(config), problems, writer, console)
    check_sandbox(config)

    async def command() -> None:
        async with open_pools(config, checkpoint) as pools:
            samples = await evaluate_in(config, problems, writer, pools, "evaluation")
        console.print(scores_table([(name, scores(samples, config.evaluation.k))]))
        evaluation_file.write(out, samples)
        console.print(f"samples: {out}", highlight=False, soft_wrap=True)
        if all(sample.verdict is None for sample in samples):
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
    """Evaluate with pools that are open already, under whatever weights they hold."""
    total = len(problems) * config.evaluation.samples_per_problem
    with Phase(console, title, total) as phase:
        return await evaluate_problems(
            config, problems, writer, pools.sampler, pools.executor, phase.advance
        )


def demo(config: RunConfig) -> None:
    """`stepcoder demo`: SFT, unless model.sft_path is there already, evaluation, RL, evaluation."""
    if config.model.sft_path and (Path(config.sft_folder) / "config.json").is_file():
        with sft_folder.reading(config):
            _demo(config, sft_checkpoint(config), None)
    else:
        with sft_folder.writing(config):
            _demo(config, *warm_start_from(config))


def _demo(config: RunConfig, base: str, phases: list[list[SftExample]] | None) -> None:
    problems = load_set(config, config.problems.train, console)
    heldout = load_set(config, config.problems.heldout, console)
    check_sandbox(config)
    writer = prompt_writer(config, base)
    problems = fitting(config, problems, writer, console)
    heldout = fitting(without_given_code(config), heldout, writer, console)
    folder = RunFolder.fresh(config)
    stop = StopRequest()

    async def command() -> None:
        if phases is None:
            console.print(f"SFT: {config.sft_folder}, made before", highlight=False)
        else:
            await warm_start(config, base, phases)
        checkpoint = sft_checkpoint(config)
        evaluated: dict[str, list[EvaluatedSample]] = {}
        async with open_pools(config, checkpoint) as pools:

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
                stop=stop,
                then=evaluate_trained,
            )
        ks = config.evaluation.k
        console.print(scores_table([(name, scores(each, ks)) for name, each in evaluated.items()]))
        if len(evaluated) > 1:
            gain = paired_gain(evaluated["SFT"], evaluated["RL"])
            console.print(f"RL over SFT: {gain}", highlight=False, soft_wrap=True)

    with closing(folder), report.written_at_the_end(folder.path, console), ray_session(config):
        run_until_done(command(), stop)
    console.print(f"run directory: {folder.path}", highlight=False)


# ── judge, export ────────────────────────────────────────────────────────────────────────────


def judge(
    problems: Path,
    programs: Path,
    out: Path,
    *,
    backend: Literal["docker", "process"],
    jobs: int,
    image: str,
    resume: bool,
) -> None:
    """`stepcoder judge`."""
    from sandbox.batch import judge_files

    command = judge_files(
        problems, programs, out, backend=backend, jobs=jobs, image=image, resume=resume
    )
    run_until_done(command)


def export(run_dir: Path, step: int, out: Path) -> None:
    """`stepcoder export`."""
    checkpoint = run_dir / "checkpoints" / f"step_{step:06d}"
    if checkpoint not in checkpoints(run_dir):
        present = [path.name for path in checkpoints(run_dir)] or ["none"]
        raise ConfigError(f"{checkpoint}: no such checkpoint; there is {', '.join(present)}")
    config = load_config(run_dir / "config.toml")

    async def command() -> None:
        async with open_learner(config, sft_checkpoint(config)) as learner:
            await learner.load(str(checkpoint / "learner"))
            await learner.save_hf(str(out.resolve()))

    with ray_session(config, pools=False):
        run_until_done(command())
    console.print(f"checkpoint: {out}", highlight=False)
