"""What a run measures: the names, their meaning, and how a step's figures are computed.

The same names are written to `metrics.jsonl`, TensorBoard and Ray's metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.problems.levels import apps_level
from stepcoder_dist.records import LEVELS, Outcome, Trajectory, WeightVersion

PHASES = ("wait_for_rollouts", "learner", "checkpoint", "publish")

STALENESS = range(5)

# ASCII: Ray takes nothing else as a description
METRICS: dict[str, str] = {
    "step": "learner steps done; the weight version they produced",
    "reward": "mean reward of the step's samples",
    "pass_rate": "share of samples that passed every test",
    **{f"pass_rate/{level}": f"the same, {level} problems only" for level in LEVELS},
    **{f"outcomes/{outcome}": f"samples whose outcome was {outcome}" for outcome in Outcome},
    "heldout/pass_at_1": "pass@1 on held-out problems, every evaluation.every steps",
    **{f"heldout/pass_at_1/{level}": f"the same, {level} problems only" for level in LEVELS},
    "heldout/reward_gap": "pass@1 by tests like the training ones, less that by the held-out ones",
    "heldout/reward_gap_growth": "the same, less that of the run's first evaluation",
    "completion_tokens": "sampled tokens of the step",
    "completion_length": "mean sampled tokens of a sample",
    "staleness": "mean versions between sampling and training",
    **{
        f"staleness/{n}": f"samples that were {n} versions old, the last: or more"
        for n in STALENESS
    },
    "sandbox_ms/p50": "milliseconds from program to verdict, queue included: median",
    "sandbox_ms/p95": "the same: 95th percentile",
    "mean_stage": "mean curriculum stage over all problems; 0: complete programs",
    "buffer_depth": "judged samples that wait for the learner",
    "samples_in_flight": "samples planned and not yet settled",
    **{f"samples/{fate}": f"samples since the start that ended as {fate}" for fate in Fate},
    "policy_loss": "masked PPO loss, by kept tokens, mean over the step's updates",
    "kl_loss": "KL to the reference as a loss of its own, times kl_beta (grpo)",
    "value_loss": "clipped value loss, by response tokens",
    "kl_reference": "mean log-ratio to the reference model, a response token; kl_beta > 0 only",
    "logprob_mismatch": "mean |log-prob of vLLM - of the learner|, a response token",
    "correction_mean": "mean of min(pi_old/pi_rollout, cap)",
    "clip_fraction": "share of kept tokens whose ratio was clipped",
    "explained_variance": "of the returns by the critic's values",
    "entropy": "mean entropy of the policy, a response token that a pass saw, nats",
    "approx_kl": "mean of ratio - 1 - log ratio, new policy to pi_old",
    "grad_norm_policy": "gradient norm before clipping",
    "grad_norm_critic": "gradient norm before clipping",
    "flat_share": "share of samples whose group all scored alike: no advantage (rloo: the KL's)",
    "flat_groups_replaced": "groups that scored alike and were replaced (flat_groups = replace)",
    "oversampling": "groups sampled for the step, as a multiple of its own",
    "kept_share": "share of sampled tokens that carry policy loss (FGO)",
    "response_tokens": "tokens that the learner trained on",
    "learner_tokens_per_s": "prompt and response tokens through the learner, per second",
    "advantage_std": "standard deviation of the advantages, before whitening where there is any",
    "skipped_steps": "steps since the start in which no token was kept",
    "nonfinite_steps": "steps since the start with an update that was skipped: not finite",
    "tokens_per_s": "sampled tokens per second of the step, all phases included",
    "step_s": "wall-clock seconds of the step",
    "checkpoint_write_s": "seconds from copy to disk, in the first row after a checkpoint is there",
    "push_s": "wall-clock seconds of the newest push to all rollout actors",
    **{f"seconds/{phase}": f"wall-clock seconds of {phase}" for phase in PHASES},
    **{f"share/{phase}": f"share of the step spent in {phase}" for phase in PHASES},
    "waits/learner_waits_for_rollouts": "seconds in which engines decoded and no rank worked",
    "waits/learner_waits_for_sandbox": "seconds in which only the sandbox worked",
    "waits/rollouts_wait_for_sandbox": "seconds in which programs ran and no engine decoded",
    "waits/rollouts_wait_for_learner": "seconds in which only the learner stepped",
    "waits/rollouts_wait_for_push": "the same, while weights were sent",
    "waits/rollouts_wait_for_checkpoint": "the same, while a checkpoint was written",
}

WALL_CLOCK = frozenset(
    name
    for name in METRICS
    if name.startswith(("seconds/", "share/", "waits/", "sandbox_ms/"))
    or name in ("step_s", "push_s", "tokens_per_s", "learner_tokens_per_s", "checkpoint_write_s")
)
"""Figures that are measured with a clock.

No others may differ between two runs of the same run file on the CPU without staleness."""

OF_THE_MOMENT = frozenset({"buffer_depth", "samples_in_flight"})
"""What both loops have done at the time. Where they overlap these may differ too, also with
`deterministic`."""


def _nobody(_phase: str, _begin: float, _end: float) -> None:
    """Hear of a phase."""


class PhaseClock:
    """Measures the wall-clock seconds of named phases, from its construction on."""

    def __init__(self, hear: Callable[[str, float, float], None] = _nobody) -> None:
        """`hear` is called with each phase, its begin and its end."""
        self._hear = hear
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            end = time.monotonic()
            self._seconds[name] = self.seconds(name) + end - start
            self._hear(name, start, end)

    def seconds(self, name: str) -> float:
        return self._seconds.get(name, 0.0)

    def shares(self) -> dict[str, float]:
        """`step_s`, and `seconds/` and `share/` of every phase."""
        total = time.monotonic() - self._start
        figures = {"step_s": total}
        for phase in PHASES:
            figures[f"seconds/{phase}"] = self.seconds(phase)
            figures[f"share/{phase}"] = self.seconds(phase) / total if total else 0.0
        return figures


def summarise(batch: Sequence[Trajectory], *, trained_version: WeightVersion) -> dict[str, float]:
    """Compute the figures of a step's samples alone. Raises `ValueError` for an empty batch."""
    if not batch:
        raise ValueError("a step without samples has no figures")
    passed = np.array([t.outcome is Outcome.PASSED for t in batch])
    lengths = np.array([len(t.completion_ids) for t in batch])
    ages = np.array([trained_version - t.oldest_weights for t in batch])
    judge_ms = np.array([t.judge_ms for t in batch])
    figures = {
        "reward": float(np.mean([t.reward for t in batch])),
        "pass_rate": float(passed.mean()),
        "completion_tokens": float(lengths.sum()),
        "completion_length": float(lengths.mean()),
        "staleness": float(ages.mean()),
        **{f"staleness/{n}": int((np.minimum(ages, STALENESS[-1]) == n).sum()) for n in STALENESS},
        "sandbox_ms/p50": float(np.percentile(judge_ms, 50)),
        "sandbox_ms/p95": float(np.percentile(judge_ms, 95)),
    }
    for level in LEVELS:
        at_level = np.array([apps_level(t.level) == level for t in batch])
        if at_level.any():
            figures[f"pass_rate/{level}"] = float(passed[at_level].mean())
    for outcome in Outcome:
        figures[f"outcomes/{outcome}"] = sum(t.outcome is outcome for t in batch)
    return figures
