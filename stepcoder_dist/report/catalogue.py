"""The figures that are drawn together, and their names. `metrics.METRICS` has their meaning."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from stepcoder_dist.loop.metrics import METRICS
from stepcoder_dist.records import LEVELS, Outcome

OUTCOME_LABELS = {
    Outcome.PASSED: "passed",
    Outcome.WRONG_ANSWER: "wrong answer",
    Outcome.RUNTIME_ERROR: "runtime error",
    Outcome.TIMEOUT: "time-out",
    Outcome.OUTPUT_LIMIT: "output limit",
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.COMPILE_ERROR: "does not compile",
}

ELSEWHERE = ("outcomes/", "seconds/", "share/", "samples/", "pass_rate/")
"""Figures, or beginnings of their names, that other parts of the page show."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One of the small charts."""

    title: str
    names: tuple[str, ...]
    unit: str = ""
    """"%": a share; otherwise printed after the value."""
    sparse: bool = False
    """True for what is measured at some steps only: its points are joined, without an average."""

    @property
    def meaning(self) -> str:
        return METRICS.get(self.names[0], "")


GROUPS: tuple[tuple[str, tuple[Chart, ...]], ...] = (
    (
        "Learning",
        (
            Chart("Reward", ("reward",)),
            Chart("Pass share", ("pass_rate", *(f"pass_rate/{level}" for level in LEVELS)), "%"),
            Chart(
                "Held-out pass@1",
                ("heldout/pass_at_1", *(f"heldout/pass_at_1/{level}" for level in LEVELS)),
                "%",
                sparse=True,
            ),
            Chart("Reward over truth", ("heldout/reward_gap",), "%", sparse=True),
            Chart("Mean stage", ("mean_stage",)),
            Chart("Completion length", ("completion_length",), "tokens"),
        ),
    ),
    (
        "Policy",
        (
            Chart("Entropy", ("entropy",), "nats"),
            Chart("KL to the reference", ("kl_reference",), "nats"),
            Chart("KL of the update", ("approx_kl",), "nats"),
            Chart("Clip fraction", ("clip_fraction",), "%"),
        ),
    ),
    (
        "Losses, gradients, corrections",
        (
            Chart("Policy loss", ("policy_loss",)),
            Chart("KL loss", ("kl_loss",)),
            Chart("Value loss", ("value_loss",)),
            Chart("Explained variance", ("explained_variance",)),
            Chart("Flat groups", ("flat_share",), "%"),
            Chart("Over-sampling", ("oversampling",), "times a step"),
            Chart("Kept share", ("kept_share",), "%"),
            Chart("Gradient norm, policy", ("grad_norm_policy",)),
            Chart("Gradient norm, critic", ("grad_norm_critic",)),
            Chart("Spread of advantages", ("advantage_std",)),
            Chart("Log-prob mismatch", ("logprob_mismatch",), "nats"),
            Chart("Correction weight", ("correction_mean",)),
            Chart("Staleness", ("staleness",), "versions"),
            Chart("Skipped steps", ("skipped_steps", "nonfinite_steps")),
        ),
    ),
    (
        "Speed",
        (
            Chart("Sampled tokens", ("tokens_per_s",), "/s"),
            Chart("Learner tokens", ("learner_tokens_per_s",), "/s"),
            Chart("Step", ("step_s",), "s"),
            Chart("Writing a checkpoint", ("checkpoint_write_s",), "s"),
            Chart(
                "Rollouts wait",
                tuple(
                    f"waits/rollouts_wait_for_{whom}"
                    for whom in ("sandbox", "learner", "push", "checkpoint")
                ),
                "s",
            ),
            Chart(
                "The learner waits",
                ("waits/learner_waits_for_rollouts", "waits/learner_waits_for_sandbox"),
                "s",
            ),
            Chart("Sandbox", ("sandbox_ms/p50", "sandbox_ms/p95"), "ms"),
            Chart("Waiting in the buffer", ("buffer_depth",), "samples"),
            Chart("In flight", ("samples_in_flight",), "samples"),
        ),
    ),
)


def groups_for(names: Collection[str]) -> list[tuple[str, list[Chart]]]:
    """Return the groups with the figures that a run has; figures without a group come last."""
    drawn = {name for _, charts in GROUPS for chart in charts for name in chart.names}
    drawn |= {
        "step",
        "completion_tokens",
        "response_tokens",
    }  # tokens a step: the lengths show them
    others = [
        Chart(name.replace("_", " "), (name,))
        for name in sorted(names)
        if name not in drawn and not name.startswith(ELSEWHERE)
    ]
    found = []
    for title, charts in (*GROUPS, ("Other figures", tuple(others))):
        present = [
            replace(chart, names=tuple(name for name in chart.names if name in names))
            for chart in charts
            if chart.names[0] in names
        ]
        if present:
            found.append((title, present))
    return found
