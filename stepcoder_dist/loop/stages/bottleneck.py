"""What held a step up, and what would help: arithmetic on the seconds that were measured.

In a step somebody waits: engines for the sandbox, the learner for engines, or engines for the
learner, a push or a checkpoint. The longest of these waits is the step's bottleneck. How many
processes would end it follows from rates: a pool of N that needed t seconds for the work of a
step needs N·t/u for the same work in u seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from stepcoder_dist.loop.stages.stage_clock import StageSeconds

NEGLIGIBLE = 0.05
"""The share of a step below which a wait is nothing to act on."""
_QUEUED = 0.2
"""Programs that wait for a container for at least this share of their time are a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The pools during the step."""

    rollouts: int
    executors: int
    containers: int
    """Of one executor."""
    max_staleness: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """The longest wait of a step."""

    stage: str
    """Who was waited for: `rollouts`, `sandbox`, `learner`, `push`, `checkpoint`; empty: nobody
    for long."""
    waited_s: float
    share: float
    """Of the step."""
    text: str
    """One sentence: who waited, for how long, and what would help."""

    @property
    def short(self) -> str:
        """A few words for a progress line."""
        return f"waits: {self.stage} {self.share:.0%}" if self.stage else "no waits"


def bottleneck(seconds: StageSeconds, sizes: Sizes) -> Bottleneck:
    """Return who held the step up, from its seconds and the pools' sizes."""
    waits = {
        "rollouts": seconds.learner_waits_for_rollouts_s,
        "sandbox": seconds.rollouts_wait_for_sandbox_s,
        "learner": seconds.rollouts_wait_for_learner_s,
        "push": seconds.rollouts_wait_for_push_s,
        "checkpoint": seconds.rollouts_wait_for_checkpoint_s,
    }
    stage = max(waits, key=lambda name: waits[name])
    waited_s = waits[stage]
    share = waited_s / seconds.step_s if seconds.step_s else 0.0
    if share < NEGLIGIBLE:
        return Bottleneck(
            stage="",
            waited_s=waited_s,
            share=share,
            text=f"no stage waited for another for more than {NEGLIGIBLE:.0%} of the step",
        )
    waiting = "the learner" if stage == "rollouts" else "rollouts"
    name = {"push": "push of weights"}.get(stage, stage)
    what = name if stage == "rollouts" else f"the {name}"
    text = f"{waiting} waited {share:.0%} of the step ({waited_s:.1f} s) for {what}: " + {
        "rollouts": more_rollouts,
        "sandbox": more_executors,
        "learner": faster_learner,
        "push": _faster_push,
        "checkpoint": _fewer_checkpoints,
    }[stage](seconds, sizes)
    return Bottleneck(stage=stage, waited_s=waited_s, share=share, text=text)


def executors_wanted(seconds: StageSeconds, sizes: Sizes) -> int:
    """Return how many executors would judge in the time in which engines decode, on a full queue.

    No more than have a container for each program of the step at the same time.
    """
    waited, sampling = seconds.rollouts_wait_for_sandbox_s, seconds.sampling_s
    at_once = ceil(seconds.programs / sizes.containers)
    if not sampling:
        return max(at_once, sizes.executors)
    wanted = ceil(sizes.executors * (sampling + waited) / sampling)
    return max(min(wanted, at_once), sizes.executors)


def rollouts_wanted(seconds: StageSeconds, sizes: Sizes) -> int:
    """Return how many engines would make a step's samples in the time of a learner step."""
    waited = seconds.learner_waits_for_rollouts_s
    busy = seconds.step_s - waited
    return ceil(sizes.rollouts * seconds.step_s / busy) if busy > 0 else 2 * sizes.rollouts


def rollouts_enough(seconds: StageSeconds, sizes: Sizes) -> int:
    """Return how many engines would make the same samples in the same time without idling."""
    busy = 1 - seconds.rollouts_wait_for_learner_s / seconds.step_s
    return max(ceil(sizes.rollouts * busy), 1)


def queued(seconds: StageSeconds) -> bool:
    """Return whether programs waited for containers, rather than for one that is slow."""
    total = seconds.queued_s + seconds.judged_s
    return total > 0 and seconds.queued_s / total >= _QUEUED


def more_executors(seconds: StageSeconds, sizes: Sizes) -> str:
    wanted = executors_wanted(seconds, sizes)
    if queued(seconds) and wanted > sizes.executors:
        return f"{sizes.executors} → {wanted} executors would end that"
    return (
        "its containers were not full, so a few slow programs hold it up; "
        "sandbox.wall_limit_s and cpu_limit_s bound them"
    )


def more_rollouts(seconds: StageSeconds, sizes: Sizes) -> str:
    if sizes.max_staleness:
        wanted = rollouts_wanted(seconds, sizes)
        return f"{sizes.rollouts} → {wanted} rollout actors would end that"
    saved = seconds.learner_waits_for_rollouts_s / 2
    return (
        f"{sizes.rollouts} → {2 * sizes.rollouts} rollout actors would save up to {saved:.1f} s of "
        "it; train.max_staleness = 1 would let the learner work meanwhile"
    )


def faster_learner(seconds: StageSeconds, sizes: Sizes) -> str:
    if not sizes.max_staleness:
        return "train.max_staleness = 1 would let them sample meanwhile; more learner.ranks help"
    enough = rollouts_enough(seconds, sizes)
    spare = (
        f"; {enough} of {sizes.rollouts} rollout actors would do" if enough < sizes.rollouts else ""
    )
    return f"more learner.ranks help{spare}"


def _faster_push(_seconds: StageSeconds, sizes: Sizes) -> str:
    if not sizes.max_staleness:
        return "train.max_staleness = 1 would let them sample meanwhile"
    return (
        'a faster network between learner and actors helps, or weights.transport = "nccl" on GPUs'
    )


def _fewer_checkpoints(_seconds: StageSeconds, _sizes: Sizes) -> str:
    return "a larger train.checkpoint_every or train.save_hf_every, or a faster disk, helps"
