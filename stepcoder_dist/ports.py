"""What the loops need from the processes around them, and the two sides of a push from each other.

`Sampler`, `Sandbox` and `Learner` have a suite of contract tests (`tests/contract/`) that every
implementation passes, pools of Ray actors and the fakes of `loop/fakes.py` that ship for fast tests
of the loops alike. Another inference engine is another `Sampler`, opened in `launch/processes.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from stepcoder_dist.records import (
    Completion,
    Int32Array,
    RolloutRequest,
    StepReport,
    TakenUpdate,
    TestSuite,
    Trajectory,
    Verdict,
    WeightBucket,
    WeightProbe,
    WeightSnapshot,
    WeightVersion,
)

Placement = Callable[[int], dict[str, Any]]
"""Ray's options that say where the process of this index in its pool runs."""


def anywhere(_index: int) -> dict[str, Any]:
    """Leave the place of a process to Ray."""
    return {}


LastWords = Callable[[Exception], Awaitable[str]]
"""What the process whose death this error of Ray's reports wrote last to its standard error.

Empty where the error is no death of a process. It may have several lines.
"""


async def unheard(_error: Exception) -> str:
    """Ask nobody."""
    return ""


class Tokenizer(Protocol):
    """Text to ids with the place of every token in the text."""

    def encode(
        self,
        text: str,
        literal: Sequence[tuple[int, int]] = (),
        apart: Sequence[int] = (),
    ) -> tuple[Int32Array, Int32Array]:
        """Return ids int32 [n] and their half-open char spans int32 [n, 2] in `text`.

        In the half-open ranges `literal` nothing is read as a special token. No token straddles an
        offset of `apart`.
        """
        ...

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """Ids that the model expects ahead of every text; often none."""
        ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end an answer."""
        ...

    @property
    def eos_id(self) -> int:
        """The end-of-sequence id that SFT teaches."""
        ...


class Sampler(Protocol):
    """Continues token sequences with the policy."""

    def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        """Sample every request of the share on one engine; yield each as it finishes.

        All of the share is enqueued before the engine steps, so the same share under the same
        weights gives the same completions. Raises `RunError` when the engine is lost: `ShareLost`
        where what it sampled may be the cause.
        """
        ...

    @property
    def width(self) -> int:
        """The number of engines that can work at the same time."""
        ...

    async def rest(self) -> None:
        """Release the engines' weights and caches; only a push wakes them, each its target.

        Call it when nothing is being sampled. `sample` raises `RunError` until the push.
        """
        ...

    async def weight_targets(self) -> Sequence[Any]:
        """Return the handles that a `WeightPublisher` sends to.

        Each answers as a `WeightTarget`.
        """
        ...

    def refresh_with(self, refresh: Callable[[Sequence[Any]], Awaitable[object]]) -> None:
        """Have engines that replace lost ones brought to the current weights: `refresh([it])`."""
        ...


class Sandbox(Protocol):
    """Judges untrusted programs."""

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        """Run every test of the suite. Raises `SandboxFault`, never returns one as a verdict.

        Problems take turns: programs of one problem that are slow do not hold up another's.
        With `tests.keep_answers` each result holds what the program answered.
        """
        ...


class Learner(Protocol):
    """Owns policy, critic, reference and their optimisers, on one or many ranks."""

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        """Run one PPO step, all its epochs, on the entire batch. Raises `LearnerError`."""
        ...

    @property
    def can_snapshot(self) -> bool:
        """Whether `snapshot` and `deliver` work here, so that a step may overlap a delivery.

        Not where weights go from the memory that the learner computes with, or engines share it.
        """
        ...

    async def snapshot(self) -> WeightSnapshot:
        """Copy the weights of the last step, once, for any number of deliveries.

        Steps may follow: they do not change it. It takes the memory of the model until its last
        holder drops it. Raises `WeightPushError` where there is no room, `LearnerError`.
        """
        ...

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        """Bring every target to the snapshot and check that it arrived, whatever the learner does.

        Each target takes it at its own speed. Two deliveries to one target take turns, in the
        order of the calls: call it in the order of the versions. Raises as `publish` does, when
        every target has ended.
        """
        ...

    async def publish(self, targets: Sequence[Any], *, deadline_s: float) -> WeightVersion:
        """Send the current weights to every target and check that they arrived.

        Raises `WeightPushError`, naming the targets, when one did not get all of them in time. One
        that has died is passed over: the sampler replaces it and asks for a push to the new one.
        """
        ...

    def hear_of_updates(self, hear: Callable[[TakenUpdate, WeightVersion], None]) -> None:
        """Have `hear` called when a target has taken a version, where the learner's driver asks."""
        ...

    async def begin_save(self, folder: str) -> Coroutine[Any, Any, None]:
        """Take everything that `load` needs to resume bitwise; what is returned writes it.

        Steps may run while that is awaited, and do not change what is written. The folder appears
        complete or not at all. Both raise `LearnerError`.
        """
        ...

    async def load(self, folder: str) -> WeightVersion:
        """Resume where `begin_save` was called. Raises `UserError` for no such checkpoint."""
        ...

    async def save_hf(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder, in the place of an older one of this name.

        It appears complete or not at all. Raises `LearnerError`.
        """
        ...


class WeightPublisher(Protocol):
    """A push from the learner's GPUs to the actors', called on every rank."""

    def push(self, version: WeightVersion, targets: Sequence[Any], deadline_s: float) -> None:
        """Send the weights to every target.

        Raises `WeightPushError` on every rank, naming each target that lives and did not commit.
        """
        ...


class WeightTarget(Protocol):
    """The actor's side of a push: remote methods of a rollout actor, called in this order.

    Buckets after the first may arrive in any order.

    A failure before the first bucket is loaded leaves the actor on its old version; after it
    the actor refuses to sample until a complete push or a restart.
    """

    def start_update(self, version: WeightVersion) -> None:
        """Drain what is decoding and take no more work until the update ends."""
        ...

    def load_bucket(self, bucket: WeightBucket) -> None:
        """Load it into the live model. Raises `WeightPushError` if it is damaged or unfit."""
        ...

    def finish_update(self, version: WeightVersion, buckets: int) -> TakenUpdate | None:
        """Commit: every bucket arrived. The prefix cache is reset; samples carry `version` now.

        None: an engine that does not measure its pause.
        """
        ...

    def abort_update(self, version: WeightVersion) -> None:
        """End an update that gets no more buckets; a committed version is not affected."""
        ...

    def probe(self, token_ids: Sequence[int]) -> WeightProbe:
        """Return the log-probs (temperature 1) of the given tokens under the weights in use."""
        ...
