"""`stepcoder demo`: warm start, evaluation, RL, evaluation; `--resume` does what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_dist import report
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import Interrupted, RunError
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.paired_gain import paired_gain
from stepcoder_dist.evaluation.pass_at_k import scores
from stepcoder_dist.evaluation.table import scores_table
from stepcoder_dist.host import model_source
from stepcoder_dist.host.interruption import StopRequest, run_until_done
from stepcoder_dist.launch import kept_evaluations
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.evaluate import evaluate_in
from stepcoder_dist.launch.processes import console, open_pools, open_sandbox
from stepcoder_dist.launch.train import check_resumable, note, train_in
from stepcoder_dist.launch.warm_start import warm_start, warm_start_from
from stepcoder_dist.records import Problem
from stepcoder_dist.run import digests
from stepcoder_dist.run.preflight import (
    fitting,
    load_set,
    load_weak_tests,
    prompt_writer,
    sft_checkpoint,
    tell_if_heldout_is_trained,
    without_given_code,
)
from stepcoder_dist.run.run_folder import RunFolder, checkpoints
from stepcoder_dist.run.session import Pools
from stepcoder_dist.run.sinks import trackers
from stepcoder_dist.run.sinks.metric_sinks import MetricSink
from stepcoder_dist.sft import folder as sft_folder, work as sft_work
from stepcoder_dist.sft.examples import SftExamples
from stepcoder_dist.text.program import PromptWriter


def demo(config: RunConfig, *, resume: bool = False) -> None:
    """Run `stepcoder demo`. A model that is at model.sft_path already is not trained by SFT.

    `resume`: what an earlier call has finished is not done again, where what it was made from is
    unchanged. A warm start or RL that was interrupted continues at its newest checkpoint.
    """
    if model_source.holds_model(config.sft_folder) and (config.model.sft_path or resume):
        with sft_folder.reading(config):
            if resume and (Path(config.sft_folder) / sft_work.MADE_FROM).is_file():
                _, examples = warm_start_from(config)
                sft_work.refuse_made_otherwise(config, examples)
            _demo(config, sft_checkpoint(config), None, resume=resume)
    else:
        with sft_folder.writing(config):
            unfinished = resume and sft_work.is_unfinished(config)
            base, examples = warm_start_from(config, resume=unfinished)
            _demo(config, base, examples, resume=resume, resume_sft=unfinished)


def _demo(
    config: RunConfig,
    base: str,
    examples: SftExamples | None,
    *,
    resume: bool,
    resume_sft: bool = False,
) -> None:
    stages = _Stages.of(config, base, examples)
    evaluated = stages.evaluated
    with closing(RunFolder.begun(config) if resume else RunFolder.fresh(config)) as folder:
        if examples is None:
            console.print(f"SFT: {config.sft_folder}, made before", highlight=False)
            if resume:
                evaluated |= _done_before(config, folder, stages.problems, stages.heldout)
        if "RL" not in evaluated:
            with (
                trackers.opened(config, folder.path, note) as tracked,
                report.written_at_the_end(folder.path, console),
                _saying_how_to_resume(),
                ray_session(config),
            ):
                run_until_done(stages.run(folder, tracked, resume_sft=resume_sft), stages.stop)
    ks = config.evaluation.k
    console.print(scores_table([(name, scores(each, ks)) for name, each in evaluated.items()]))
    gain = paired_gain(evaluated["SFT"], evaluated["RL"])
    console.print(f"RL over SFT: {gain}", highlight=False, soft_wrap=True)
    if not gain.told_from_none:
        console.print("too little to tell from no gain; more steps or problems would tell")
    console.print(f"run directory: {folder.path}", highlight=False)


@dataclass(frozen=True, slots=True)
class _Stages:
    """What a demo does in one session of Ray, and the evaluations that came of it."""

    config: RunConfig
    base: str
    examples: SftExamples | None
    """None: the warm start is there."""
    problems: Sequence[Problem]
    heldout: Sequence[Problem]
    weak: Sequence[Problem]
    writer: PromptWriter
    stop: StopRequest = field(default_factory=StopRequest)
    evaluated: dict[str, list[EvaluatedSample]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: RunConfig, base: str, examples: SftExamples | None) -> _Stages:
        problems = load_set(config, config.problems.train, console)
        heldout = load_set(config, config.problems.heldout, console)
        writer = prompt_writer(config, base)
        problems = fitting(config, problems, writer, console)
        heldout = fitting(without_given_code(config), heldout, writer, console)
        tell_if_heldout_is_trained("problems.train", problems, heldout, console)
        weak = load_weak_tests(config, heldout, console)
        return cls(config, base, examples, problems, heldout, weak, writer)

    async def run(
        self, folder: RunFolder, tracked: Sequence[MetricSink], *, resume_sft: bool
    ) -> None:
        config, examples = self.config, self.examples
        async with open_sandbox(config) as sandbox:
            if examples is not None:
                await warm_start(config, self.base, examples, stop=self.stop, resume=resume_sft)
            checkpoint = sft_checkpoint(config)
            made_from = kept_evaluations.identities(config, self.problems, self.heldout, checkpoint)
            async with open_pools(config, checkpoint, sandbox) as pools:
                await self._evaluate_and_train(folder, pools, checkpoint, made_from, tracked)

    async def _evaluate_and_train(
        self,
        folder: RunFolder,
        pools: Pools,
        checkpoint: str,
        made_from: Mapping[str, dict[str, Any]],
        tracked: Sequence[MetricSink],
    ) -> None:
        config, heldout = self.config, self.heldout

        async def evaluate_as(label: str) -> None:
            samples = await evaluate_in(config, heldout, self.writer, pools, f"eval {label}")
            kept_evaluations.write(folder, label, samples, made_from[label])
            self.evaluated[label] = samples

        async def evaluate_trained() -> None:
            await evaluate_as("RL")

        if "SFT" not in self.evaluated:
            await evaluate_as("SFT")
        await train_in(
            config,
            folder,
            self.problems,
            self.writer,
            pools,
            checkpoint,
            heldout=heldout,
            weak=self.weak,
            resume=bool(checkpoints(folder.path)),
            stop=self.stop,
            tracked=tracked,
            then=evaluate_trained,
        )


def _done_before(
    config: RunConfig, folder: RunFolder, problems: Sequence[Problem], heldout: Sequence[Problem]
) -> dict[str, list[EvaluatedSample]]:
    """Return the evaluations that need not be made again; check what RL is resumed from.

    Raises `ConfigError` for a checkpoint that this config cannot be resumed from.
    """
    checkpoint = sft_checkpoint(config)
    if checkpoints(folder.path):
        sources = digests.sources(problems, checkpoint)
        check_resumable(config, folder, sources, done_too=True)
    made_from = kept_evaluations.identities(config, problems, heldout, checkpoint)
    found = kept_evaluations.read(folder, made_from)
    for label in found:
        console.print(f"eval {label}: {folder.path}, made before", highlight=False)
    return found


@contextmanager
def _saying_how_to_resume() -> Iterator[None]:
    try:
        yield
    except (Interrupted, RunError):
        note("`stepcoder demo RUN.toml --resume` does what is left of SFT, evaluations and RL")
        raise
