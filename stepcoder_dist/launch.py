"""The composition root: the only file that knows every role. Each function is one command.

A command reads and checks everything that a user can get wrong first, then opens the processes
it needs (`open_pools`, `open_learner`), hands them to the core, and closes what it opened.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from stepcoder_dist import pipeline, report_table
from stepcoder_dist.config import RunConfig
from stepcoder_dist.curriculum import Curriculum, conditional_lines
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.evaluation import EvaluatedSample, scores
from stepcoder_dist.evaluation import evaluate as evaluate_problems
from stepcoder_dist.metric_sinks import JsonLines, MetricSink, TensorBoard
from stepcoder_dist.planner import Planner
from stepcoder_dist.ports import Executor
from stepcoder_dist.problems import load as load_problems
from stepcoder_dist.program import PromptWriter
from stepcoder_dist.progress import Phase
from stepcoder_dist.ray_session import RayMetrics, ray_session
from stepcoder_dist.records import Problem, Trajectory, WeightVersion
from stepcoder_dist.run_folder import RunFolder, checkpoints
from stepcoder_dist.tokenization import load_tokenizer

if TYPE_CHECKING:
    from actors.actor_pool import ActorPool
    from learner.learner_group import LearnerGroup

console = Console()


@dataclass(frozen=True, slots=True)
class Pools:
    """The processes around the learner."""

    sampler: ActorPool
    executor: Executor


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


def run_until_done(command: Coroutine[Any, Any, None]) -> None:
    """Run a command; SIGINT and SIGTERM cancel it, so that everything it opened is closed."""

    async def main() -> None:
        task = asyncio.ensure_future(command)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    asyncio.run(main())


# ── train ────────────────────────────────────────────────────────────────────────────────────


def train(config: RunConfig, *, resume: bool) -> None:
    """`stepcoder train`."""
    problems = load_set(config, config.problems.train)
    checkpoint = sft_checkpoint(config)
    writer = prompt_writer(config, checkpoint)
    check_sandbox(config)
    folder = RunFolder.latest(config) if resume else RunFolder.fresh(config)

    async def command() -> None:
        async with open_pools(config, checkpoint) as pools:
            await train_in(config, folder, problems, writer, pools, checkpoint, resume=resume)

    try:
        with ray_session(config):
            run_until_done(command())
    finally:
        folder.close()
    console.print(f"run directory: {folder.path}", highlight=False)


async def train_in(
    config: RunConfig,
    folder: RunFolder,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    checkpoint: str,
    *,
    resume: bool,
) -> None:
    """RL with pools that are open already; the pools keep the final weights."""
    async with open_learner(config, checkpoint) as learner:
        run = compose(config, problems, writer, pools, learner)
        if resume:
            await restore(run, folder)

        async def refresh(targets: Sequence[Any]) -> None:
            await learner.publish(targets, deadline_s=config.weights.deadline_s)

        # Also at version 0: it shows that both sides read the same checkpoint.
        await refresh(await pools.sampler.weight_targets())
        pools.sampler.refresh_with(refresh)
        sinks: list[MetricSink] = [
            JsonLines(folder.path / "metrics.jsonl"),
            TensorBoard(folder.path / "tensorboard"),
            RayMetrics(),
        ]

        async def save(run: pipeline.Run, version: WeightVersion) -> None:
            draft = folder.begin_checkpoint(version)
            await learner.save(str(draft / "learner"))
            folder.commit_checkpoint(draft, run_state(run, version))

        try:
            with Phase(console, "RL", config.train.steps - run.version) as phase:

                def on_step(figures: dict[str, float], batch: Sequence[Trajectory]) -> None:
                    for sink in sinks:
                        sink.write(int(figures["step"]), figures)
                    folder.append_samples(batch)
                    phase.advance(report_table.status(figures))

                await pipeline.train(run, on_step, save)
        finally:
            for sink in sinks:
                sink.close()


def compose(
    config: RunConfig,
    problems: Sequence[Problem],
    writer: PromptWriter,
    pools: Pools,
    learner: LearnerGroup,
) -> pipeline.Run:
    """Join the parts of one run."""
    curriculum = Curriculum(config.curriculum, problems)
    planner = Planner(
        [problem.problem_id for problem in problems],
        curriculum,
        seed=config.seed,
        problems_per_step=config.problems_per_step,
        samples_per_problem=config.sampling.samples_per_problem,
    )
    return pipeline.Run(
        config=config,
        problems={problem.problem_id: problem for problem in problems},
        curriculum=curriculum,
        planner=planner,
        writer=writer,
        sampler=pools.sampler,
        executor=pools.executor,
        learner=learner,
    )


def run_state(run: pipeline.Run, version: WeightVersion) -> dict[str, Any]:
    """What a checkpoint holds beside the learner."""
    return {
        "version": version,
        "curriculum": run.curriculum.state_dict(),
        "planner": run.planner.state_dict(),
    }


async def restore(run: pipeline.Run, folder: RunFolder) -> None:
    """Take over the newest checkpoint's state."""
    newest = checkpoints(folder.path)[-1]
    state = json.loads((newest / "run.json").read_text(encoding="utf-8"))
    run.curriculum.load_state_dict(state["curriculum"])
    run.planner.load_state_dict(state["planner"])
    await run.begin_at(await run.learner.load(str(newest / "learner")))


# ── sft, eval, demo ──────────────────────────────────────────────────────────────────────────


def sft(config: RunConfig) -> None:
    """`stepcoder sft`."""
    with ray_session(config, pools=False):
        run_until_done(warm_start(config))
    console.print(f"checkpoint: {config.sft_folder}", highlight=False)


async def warm_start(config: RunConfig) -> None:
    """Supervised fine-tuning on the reference solutions, into `config.sft_folder`."""
    from learner import sft as learner_sft

    problems = load_set(config, config.problems.sft or config.problems.train)
    base = base_checkpoint(config)
    writer = prompt_writer(config, base)
    phases = [
        [writer.example(problem) for problem in problems if fits(problem, phase.max_conditionals)]
        for phase in config.sft.phases
    ] or [[writer.example(problem) for problem in problems]]
    legs = learner_sft.plan(config.sft, [len(examples) for examples in phases], config.seed)
    with Phase(console, "SFT", sum(leg.steps for leg in legs)) as phase:

        def on_step(progress: learner_sft.SftProgress) -> None:
            last = progress.last
            phase.advance(f"loss {last.loss:.3f}  {last.tokens_per_s:,.0f} tokens/s")

        await learner_sft.run_sft(config, phases, Path(config.sft_folder), base, on_step)


def fits(problem: Problem, max_conditionals: int | None) -> bool:
    return max_conditionals is None or (
        len(conditional_lines(problem.reference)) <= max_conditionals
    )


def base_checkpoint(config: RunConfig) -> str:
    """What SFT starts from; the tiny model is made when it is asked for."""
    if config.model.tiny is None:
        return existing(config.model.path, "mend model.path")
    from learner import tiny_model
    from stepcoder_dist import ladder

    base = Path(f"{config.sft_folder}-base")
    ladder.write_tokenizer(base)
    tiny_model.create(config.model.tiny, base, base, seed=config.seed, dtype=config.model.dtype)
    return str(base)


def evaluate(config: RunConfig, model: str) -> None:
    """`stepcoder eval`."""
    problems = load_set(config, config.problems.heldout)
    checkpoint = existing(model, "mend --model") if model else sft_checkpoint(config)
    writer = prompt_writer(config, checkpoint)
    check_sandbox(config)

    async def command() -> None:
        async with open_pools(config, checkpoint) as pools:
            samples = await evaluate_in(config, problems, writer, pools, "evaluation")
        console.print(report_table.scores_table([("", scores(samples, config.evaluation.k))]))

    with ray_session(config, learner=False):
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
    """`stepcoder demo`: SFT, evaluation, RL, evaluation."""
    problems = load_set(config, config.problems.train)
    heldout = load_set(config, config.problems.heldout)
    check_sandbox(config)
    folder = RunFolder.fresh(config)

    async def command() -> None:
        await warm_start(config)
        checkpoint = sft_checkpoint(config)
        writer = prompt_writer(config, checkpoint)
        async with open_pools(config, checkpoint) as pools:
            before = await evaluate_in(config, heldout, writer, pools, "eval SFT")
            folder.write_evaluation("sft", before)
            await train_in(config, folder, problems, writer, pools, checkpoint, resume=False)
            after = await evaluate_in(config, heldout, writer, pools, "eval RL")
            folder.write_evaluation("rl", after)
        ks = config.evaluation.k
        rows = [("SFT", scores(before, ks)), ("RL", scores(after, ks))]
        console.print(report_table.scores_table(rows))

    try:
        with ray_session(config):
            run_until_done(command())
    finally:
        folder.close()
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
) -> None:
    """`stepcoder judge`."""
    from sandbox.batch import judge_files

    run_until_done(judge_files(problems, programs, out, backend=backend, jobs=jobs, image=image))


def export(run_dir: Path, step: int, out: Path) -> None:
    """`stepcoder export`."""
    from learner.checkpoint import export_policy

    checkpoint = run_dir / "checkpoints" / f"step_{step:06d}"
    if checkpoint not in checkpoints(run_dir):
        present = [path.name for path in checkpoints(run_dir)] or ["none"]
        raise ConfigError(f"{checkpoint}: no such checkpoint; there is {', '.join(present)}")
    export_policy(checkpoint / "learner", out)


# ── what a user can get wrong, before any heavy import ───────────────────────────────────────


def load_set(config: RunConfig, spec: str) -> list[Problem]:
    """The problems that a run file names. Raises `ProblemError`, `ConfigError`."""
    limits = config.problems
    problems = load_problems(spec, max_bad_share=limits.max_bad_share, limit=limits.limit)
    for error in problems.account.bad:
        console.print(f"left out: {error}", highlight=False)
    return list(problems)


def sft_checkpoint(config: RunConfig) -> str:
    return existing(config.sft_folder, "run `stepcoder sft` on this run file first")


def existing(checkpoint: str, mend: str) -> str:
    """A checkpoint folder, or a hub name. Raises `ConfigError` for a folder without a model."""
    folder = Path(checkpoint)
    looks_local = folder.exists() or checkpoint.startswith(("/", ".", "runs/"))
    if looks_local and not (folder / "config.json").is_file():
        raise ConfigError(f"{checkpoint}: no model there (config.json is missing); {mend}")
    return checkpoint


def prompt_writer(config: RunConfig, checkpoint: str) -> PromptWriter:
    return PromptWriter(load_tokenizer(checkpoint), config.prompt)


def check_sandbox(config: RunConfig) -> None:
    """Raises `MissingEngine` before anything is started."""
    from sandbox.backend import choose

    choose(config.sandbox)
