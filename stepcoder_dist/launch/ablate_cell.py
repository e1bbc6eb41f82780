"""One cell of an ablation: RL where the arm is trained, with held-out evaluations during it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from stepcoder_dist.ablation import curve
from stepcoder_dist.ablation.plan import Cell
from stepcoder_dist.ablation.result import Evaluation, Measured
from stepcoder_dist.config import Backend, RunConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.weak_tests import judged_weakly
from stepcoder_dist.host.interruption import run_until_done
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.evaluate import evaluate_in
from stepcoder_dist.launch.processes import console, open_pools, open_sandbox
from stepcoder_dist.launch.train import train_in
from stepcoder_dist.paths import runs_root
from stepcoder_dist.records import Outcome, Problem, WeightVersion
from stepcoder_dist.run.preflight import fitting, prompt_writer, sft_checkpoint, without_given_code
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.session import Pools
from stepcoder_dist.sft import folder as sft_folder
from stepcoder_dist.text.program import PromptWriter


def measure(cell: Cell, problems: Mapping[str, Sequence[Problem]]) -> tuple[Measured, Backend]:
    """Run the cell in `runs/<ablation>/<setting>/…`; its folder stays, without the checkpoints.

    The backend that judged is returned too. A signal ends it at once: half a cell is no result.
    Raises `InUse` while another process measures it, and `RunError` where the sandbox failed on a
    sample, because the result could not be reproduced.
    """
    name = f"{cell.setting.name}-{cell.path.stem}"
    config = cell.config.model_copy(update={"name": name})
    checkpoint = sft_checkpoint(config)
    writer = prompt_writer(config, checkpoint)
    heldout = fitting(without_given_code(config), list(problems["heldout"]), writer, console)
    held = _HeldOut(cell, writer, heldout, problems.get("weak", ()))
    with sft_folder.reading(config), closing(RunFolder(folder_of(cell), config)) as folder:
        if cell.seed is None:
            curves = {}
            _evaluate(held, checkpoint)
        else:
            train = _all_that_fit(config, list(problems["train"]), writer)
            curves = _train(held, checkpoint, folder, train)
    measured = Measured(
        problems=tuple(problem.problem_id for problem in heldout),
        levels=tuple(problem.level for problem in heldout),
        evaluations=tuple(held.evaluations),
        curve=curves,
    )
    return measured, held.backend


def folder_of(cell: Cell) -> Path:
    """Return the run folder of a cell. No other cell has it, of this or another ablation file."""
    return runs_root() / cell.ablation / cell.setting.name / cell.path.stem


def _all_that_fit(
    config: RunConfig, problems: list[Problem], writer: PromptWriter
) -> list[Problem]:
    """Return the problems that every arm trains on, in the same order.

    Raises `ConfigError` where this arm would train on fewer than one that is given no code.
    """
    fit = fitting(config, problems, writer, console)
    without = fitting(without_given_code(config), problems, writer, console)
    if len(fit) < len(without):
        raise ConfigError(
            f"{len(without) - len(fit)} training problems fit model.max_tokens = "
            f"{config.model.max_tokens} only where no code is given, so the arms would not train "
            "on the same problems; raise it, or leave these problems out"
        )
    return fit


def _evaluate(held: _HeldOut, checkpoint: str) -> None:
    async def command() -> None:
        async with (
            open_sandbox(held.cell.config) as sandbox,
            open_pools(held.cell.config, checkpoint, sandbox) as pools,
        ):
            held.backend = sandbox.backend
            await held.evaluate(0, pools)

    with ray_session(held.cell.config, learner=False):
        run_until_done(command())


def _train(
    held: _HeldOut, checkpoint: str, folder: RunFolder, problems: list[Problem]
) -> dict[str, tuple[float | None, ...]]:
    """Train, evaluating every `eval_every` steps and at the end; return the learning curve."""
    cell = held.cell
    steps, every = cell.config.train.steps, cell.eval_every

    async def command() -> None:
        async with (
            open_sandbox(cell.config) as sandbox,
            open_pools(cell.config, checkpoint, sandbox) as pools,
        ):
            held.backend = sandbox.backend

            async def between_steps(version: WeightVersion) -> None:
                if version == steps or (every and version and version % every == 0):
                    await held.evaluate(version, pools)

            await train_in(
                cell.config,
                folder,
                problems,
                held.writer,
                pools,
                checkpoint,
                between_steps=between_steps,
            )

    with ray_session(cell.config):
        _empty(folder.path)  # what an interrupted attempt left
        run_until_done(command())
    curves = curve.read(folder.path)
    shutil.rmtree(folder.path / "checkpoints")
    return curves


class _HeldOut:
    """The held-out problems of one cell, and its evaluations so far."""

    def __init__(
        self, cell: Cell, writer: PromptWriter, problems: list[Problem], weak: Sequence[Problem]
    ) -> None:
        self.cell = cell
        self.writer = writer
        self.evaluations: list[Evaluation] = []
        self.backend: Backend
        """The backend that judged; set when the executors have chosen it."""
        self._problems = problems
        self._weak = {problem.problem_id: problem for problem in weak}

    async def evaluate(self, step: WeightVersion, pools: Pools) -> None:
        config = self.cell.config
        title = f"eval step {step}"
        samples = await evaluate_in(config, self._problems, self.writer, pools, title)
        weakly = []
        if self._weak:
            weakly = await judged_weakly(samples, self._weak, pools.sandbox)
        outcomes = [sample.outcome for sample in samples]
        # a learner that was started again does its last steps again
        self.evaluations = [each for each in self.evaluations if each.step < step]
        self.evaluations.append(
            Evaluation(
                step=step,
                samples=step * config.learner.samples_per_step,
                passed=self._shares(samples),
                passed_weak=self._shares(weakly) if weakly else (),
                outcomes={o.value: outcomes.count(o) for o in Outcome if o in outcomes},
            )
        )

    def _shares(self, samples: Sequence[EvaluatedSample]) -> tuple[float, ...]:
        faults = sum(sample.outcome is None for sample in samples)
        if faults:
            raise RunError(
                f"the sandbox failed on {faults} of {len(samples)} held-out programs, so this "
                "result would not come out the same again; run the cell again"
            )
        passed: dict[str, list[bool]] = {problem.problem_id: [] for problem in self._problems}
        for sample in samples:
            passed[sample.problem_id].append(sample.passed)
        return tuple(sum(each) / len(each) for each in passed.values())


def _empty(folder: Path) -> None:
    """Remove everything but the lock that this process holds."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
