"""How much of the policy's gradient is noise, with FGO's mask and without it, before any session.

    python benchmarks/gradient_noise.py deploy/runs/ablation-base.toml [--steps 48] \\
        [--case "name: problems.train=ladder:train?unreached=1 curriculum.kind=fixed"] …

A case is the run file with other keys. The loops of a real run sample and judge `--steps` batches
of it; the learner is one that takes the gradient of each and never moves. Advantages are RLOO's
(learner/advantage/rloo.py), so that no critic has to be trained first, and the same batch is
taken twice: all tokens carry it, or those that FGO keeps.

With g₁ … g_N the gradients of the batches, the signal is |E g|², by Σ_{i≠j} gᵢ·gⱼ / N(N − 1), which
no noise inflates; the noise is tr Cov g = mean |gᵢ|² − signal; SNR = signal / noise of one batch of
`learner.samples_per_step` samples. "noise left" is the noise of the sum over executed tokens over
that of the sum over all: what a mask that changes nothing but noise would leave. The cosines are
those of the expected gradients, by the same sums, so that noise does not lower them (nor keep them
below 1): between the two masks, and (all tokens) to the first case. Intervals are 95%, by the
jackknife over batches. Batches should not share problems: give a set many of them (`count=`).
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from standin_learner import StandinLearner
from torch import Tensor

from learner import policy_critic
from learner.advantage import rloo
from learner.advantage.groups import flat_share
from learner.batches import balance, packed_attention, packing
from learner.batches.balance import Budget, Work
from learner.ppo_step import PAD_ID
from learner.push.snapshot import SnapshotTaker
from learner.step_tensors import Recomputed, StepTensors
from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.console import Phase, open_console
from stepcoder_dist.launch.cluster.ray_session import ray_session
from stepcoder_dist.launch.processes import open_pools, open_sandbox
from stepcoder_dist.loop import pipeline
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import (
    Outcome,
    StepReport,
    Trajectory,
    WeightSnapshot,
    WeightVersion,
)
from stepcoder_dist.run import run_file, session
from stepcoder_dist.run.preflight import fitting, load_set, prompt_writer, sft_checkpoint

FIXED = ("learner.advantage=rloo", "credit.rule=executed", "train.max_staleness=0")
"""What the measurement rests on, over every case's own keys."""


class StandingLearner(StandinLearner):
    """`ports.Learner` that takes gradients and keeps the weights as they are."""

    def __init__(self, config: RunConfig, checkpoint: str) -> None:
        super().__init__()
        torch.set_num_threads(config.learner.threads or 1)
        self._config = config
        self._policy = policy_critic.load_policy(checkpoint, config.model)
        packed_attention.install(self._policy.causal_lm, checkpoint, key="learner.packing")
        self._snapshots = SnapshotTaker(
            self._policy.causal_lm, 0, 1, config.weights.bucket_mib * 2**20
        )
        self._version: WeightVersion = 0
        self.gradients: dict[str, list[Tensor]] = {"all": [], "executed": []}
        self.figures: list[dict[str, float]] = []

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        await asyncio.to_thread(self._take, batch)
        self._version += 1
        return StepReport(version=self._version, skipped=False, metrics={})

    async def snapshot(self) -> WeightSnapshot:
        buckets = await asyncio.to_thread(self._snapshots.take, self._version)
        return WeightSnapshot(version=self._version, buckets=buckets, probe_logprobs=())

    def _take(self, batch: Sequence[Trajectory]) -> None:
        tensors = StepTensors.of(batch, torch.device("cpu"))
        sampled = Recomputed(  # the policy has not moved: π_old is what sampled, and the reference
            old_logprobs=tensors.rollout_logprobs,
            entropy=torch.zeros_like(tensors.rollout_logprobs),
            seen=tensors.mask,
            in_training=False,
            reference_logprobs=tensors.rollout_logprobs,
            values=None,
        )
        targets = rloo.targets(tensors, sampled, self._config.learner)
        weights = {
            name: targets.advantages * mask / mask.sum().clamp(min=1)
            for name, mask in (("all", tensors.mask), ("executed", targets.keep))
        }
        for name, gradient in self._gradients(batch, tensors, weights).items():
            self.gradients[name].append(gradient)
        passed = [t.outcome is Outcome.PASSED for t in batch]
        self.figures.append(
            {
                "passed": sum(passed) / len(passed),
                "flat": flat_share(tensors.scores, tensors.groups),
                "kept": float(targets.keep.sum() / tensors.mask.sum()),
            }
        )

    def _gradients(
        self, batch: Sequence[Trajectory], tensors: StepTensors, weights: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """−∇ Σ weight · log π, flattened: float32 [parameters] by name."""
        parameters = list(self._policy.parameters())
        sums = {name: [torch.zeros_like(p) for p in parameters] for name in weights}
        budget = Budget(tokens=self._config.learner.microbatch_tokens)
        everything = tuple(range(len(batch)))
        (rows,) = balance.deal(everything, batch, ranks=1, budget=budget, work=Work())
        for samples in rows:
            micro = packing.pack(samples, batch, PAD_ID)
            logprobs, _ = self._policy(**micro.policy_inputs(tensors.temperatures[micro.samples]))
            for name, weight in weights.items():
                loss = -(weight[micro.samples, micro.offsets] * logprobs).sum()
                found = torch.autograd.grad(loss, parameters, retain_graph=True)
                sums[name] = [a + b for a, b in zip(sums[name], found, strict=True)]
        return {name: torch.cat([p.flatten() for p in parts]) for name, parts in sums.items()}


@dataclass(frozen=True)
class Case:
    name: str
    config: RunConfig


@dataclass(frozen=True)
class Measured:
    figures: dict[str, float]
    kept: Tensor
    """float64 [batches]: share of the tokens that FGO keeps."""
    gradients: dict[str, Tensor]
    """float32 [batches, parameters] by mask."""


class _NoRecords:
    """`pipeline.StepRecords` of a run that leaves nothing but its learner's gradients."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase

    def remember(self, version: WeightVersion) -> None:
        pass

    async def draft(self) -> None:
        pass

    async def save_hf(self) -> None:
        pass

    def commit(self, figures: dict[str, float], batch: Sequence[JudgedSample]) -> None:
        del batch
        self._phase.advance(f"pass {figures['pass_rate']:.0%}")


def measure(case: Case, console: Console) -> Measured:
    config = case.config
    checkpoint = sft_checkpoint(config)
    writer = prompt_writer(config, checkpoint)
    problems = fitting(config, load_set(config, config.problems.train, console), writer, console)

    async def command() -> StandingLearner:
        async with (
            open_sandbox(config) as sandbox,
            open_pools(config, checkpoint, sandbox) as pools,
        ):
            learner = StandingLearner(config, checkpoint)
            await learner.publish(await pools.sampler.weight_targets(), deadline_s=60)
            run = session.compose(config, problems, writer, pools, learner)
            with Phase(console, case.name, config.train.steps, lines=8) as phase:
                await pipeline.run_loops(run, _NoRecords(phase))
            return learner

    with ray_session(config, learner=False):
        learner = asyncio.run(command())
    means = {
        name: sum(each[name] for each in learner.figures) / len(learner.figures)
        for name in learner.figures[0]
    }
    kept = torch.tensor([each["kept"] for each in learner.figures], dtype=torch.float64)
    gradients = {name: torch.stack(g) for name, g in learner.gradients.items()}
    return Measured(means, kept, gradients)


def between(products: Tensor) -> float:
    """E g · E h from all products gᵢ·hⱼ [N, N] of paired batches: those of one batch left out."""
    n = len(products)
    return float((products.sum() - products.diagonal().sum()) / (n * (n - 1)))


def noise(products: Tensor) -> float:
    """tr Cov g from all products gᵢ·gⱼ [N, N]."""
    return float(products.diagonal().mean()) - between(products)


def snr(products: Tensor) -> float:
    """|E g|² / tr Cov g from all products gᵢ·gⱼ [N, N]."""
    return between(products) / noise(products)


def jackknife(statistic: Callable[[Tensor], float], batches: int) -> tuple[float, float]:
    """The statistic of all batches (given their indices) and half its 95% interval."""
    everything = torch.arange(batches)
    each = [statistic(everything[everything != left_out]) for left_out in range(batches)]
    mean = sum(each) / batches
    variance = (batches - 1) / batches * sum((one - mean) ** 2 for one in each)
    return statistic(everything), 1.96 * math.sqrt(variance)


def cosine(products: Tensor, of_one: Tensor, of_other: Tensor) -> float:
    """Of E g and E h, from all products gᵢ·hⱼ, gᵢ·gⱼ and hᵢ·hⱼ [N, N]."""
    return between(products) / math.sqrt(max(between(of_one) * between(of_other), 1e-300))


def interval(statistic: Callable[..., float], *products: Tensor) -> str:
    """A statistic of products [N, N], with its interval."""

    def of(batches: Tensor) -> float:
        return statistic(*(each[batches][:, batches] for each in products))

    value, half = jackknife(of, len(products[0]))
    return f"{value:.3f} ± {half:.3f}"


def report(cases: Sequence[Case], found: Sequence[Measured], console: Console) -> None:
    columns = ("passed %", "flat %", "kept %", "SNR", "noise left %", "cosine of the masks")
    table = Table("case", *columns, "cosine to the first")
    first = found[0].gradients["all"].double()
    for case, one in zip(cases, found, strict=True):
        whole = one.gradients["all"].double()
        masked = one.gradients["executed"].double() * one.kept[:, None]  # sums of as many tokens
        aa, bb, ab = whole @ whole.T, masked @ masked.T, whole @ masked.T
        ff, fa = first @ first.T, first @ whole.T
        shares = [f"{100 * one.figures[name]:.1f}" for name in ("passed", "flat", "kept")]
        table.add_row(
            case.name,
            *shares,
            interval(snr, aa),
            interval(lambda b, a: 100 * noise(b) / noise(a), bb, aa),
            interval(cosine, ab, aa, bb),
            "1" if one is found[0] else interval(cosine, fa, ff, aa),
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=48, help="batches of each case")
    parser.add_argument("--case", action="append", default=[], help="name: key=value key=value")
    options = parser.parse_args()
    console = open_console()
    cases = []
    for text in options.case or ["as it is:"]:
        name, _, keys = text.partition(":")
        keep = (*keys.split(), *FIXED, f"train.steps={options.steps}", "name=gradient-noise")
        cases.append(Case(name.strip(), run_file.load(options.run, keep)))
    found = [measure(case, console) for case in cases]
    report(cases, found, Console(width=150))


if __name__ == "__main__":
    main()
