"""The driver's handle on the learner: implements `ports.Learner` over all ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import ray

from learner.push import push_round
from learner.rank_group import RankGroup
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ArrivalError, WeightPushError, last_line
from stepcoder_dist.ports import LastWords, Placement, anywhere, unheard
from stepcoder_dist.records import (
    Int32Array,
    StepReport,
    Trajectory,
    WeightProbe,
    WeightVersion,
)

if TYPE_CHECKING:
    from learner.worker import LearnerWorker

Float64Array = npt.NDArray[np.float64]
PROBE_TOKENS = 24
PUSH_GRACE_S = 30.0
"""How much longer than its deadline a push may take to report its own failure."""


def _worker() -> type[LearnerWorker]:
    """The class of a rank, in its own process: it needs torch and DeepSpeed."""
    from learner.worker import LearnerWorker

    return LearnerWorker


class LearnerGroup:
    """Policy, critic and reference on `learner.ranks` ranks. `start` first, `close` at the end.

    Calls take turns, whoever makes them: a deadline starts when its call's turn has come, and no
    step comes between a push and the comparison after it.
    """

    def __init__(
        self,
        config: RunConfig,
        checkpoint: str,
        probe_token_ids: Sequence[int] = (),
        *,
        placement: Placement = anywhere,
        last_words: LastWords = unheard,
    ) -> None:
        """`checkpoint`: the Hugging Face folder of version 0 and of the reference.

        `probe_token_ids`: at least 2 ids whose log-probs are compared after each push. Text that
        the model knows (a prompt with its reference) has the smallest rounding differences in
        bfloat16; without it, ids are drawn from the vocabulary.
        """
        self._config = config
        self._ranks = RankGroup(
            _worker, config, checkpoint, placement=placement, last_words=last_words
        )
        self._probe = np.asarray(probe_token_ids, dtype=np.int32)
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start the ranks and load the networks."""
        await self._ranks.start()
        if len(self._probe) == 0:
            vocabulary = await self._ranks.call_one(0, "vocabulary")
            generator = np.random.default_rng(self._config.seed)
            self._probe = generator.integers(0, vocabulary, PROBE_TOKENS).astype(np.int32)

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        """Run one PPO step on the entire batch. Raises `LearnerError`."""
        async with self._turn:
            report: StepReport = (await self._ranks.call("step", ray.put(list(batch))))[0]
        return report

    async def publish(self, targets: Sequence[Any], *, deadline_s: float) -> WeightVersion:
        """Push to every target that lives, then compare a probe.

        Raises `WeightPushError` for a push that did not reach every target, `ArrivalError` for a
        target that took it and does not answer as the learner does, `LearnerError`.
        """
        async with self._turn:
            # asked before the push: on a shared GPU it wakes the engine, which takes the memory
            own = np.asarray(await self._own_logprobs(self._probe))
            version = await self._push(targets, deadline_s)
            await self._check_arrival(version, own, targets, deadline_s)
        return version

    async def _push(self, targets: Sequence[Any], deadline_s: float) -> WeightVersion:
        try:
            async with asyncio.timeout(deadline_s + PUSH_GRACE_S):
                version: WeightVersion = (
                    await self._ranks.call("push", list(targets), deadline_s)
                )[0]
        except TimeoutError:
            self._ranks.break_off("a push did not end")
            raise WeightPushError(
                f"the push to {_names(targets)} did not end within {deadline_s:.0f} s "
                "(weights.deadline_s); resume from the last checkpoint"
            ) from None
        return version

    async def probe_logprobs(self, token_ids: Sequence[int]) -> tuple[float, ...]:
        """Return log-probs at temperature 1 of tokens 1…n−1 under the learner's weights."""
        async with self._turn:
            return tuple(await self._own_logprobs(np.asarray(token_ids, dtype=np.int32)))

    async def _own_logprobs(self, token_ids: Int32Array) -> Sequence[float]:
        logprobs: Sequence[float] = (await self._ranks.call("probe_logprobs", token_ids))[0]
        return logprobs

    async def save(self, folder: str) -> None:
        """Write a checkpoint; it appears complete or not at all. Raises `LearnerError`."""
        async with self._turn:
            await self._ranks.call("save", folder)

    async def load(self, folder: str) -> WeightVersion:
        """Load a checkpoint. Raises `UserError` for a damaged or foreign one, changing nothing."""
        async with self._turn:
            await self._ranks.call_one(0, "verify", folder)
            version: WeightVersion = (await self._ranks.call("load", folder))[0]
        return version

    async def save_hf(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder. Raises `LearnerError`."""
        async with self._turn:
            await self._ranks.call("save_hf", folder)

    async def close(self) -> None:
        """End every rank."""
        await self._ranks.close()

    async def _check_arrival(
        self, version: WeightVersion, own: Float64Array, targets: Sequence[Any], deadline_s: float
    ) -> None:
        """Check that every live target answers the probe as the learner did, as this version."""
        try:
            async with asyncio.timeout(deadline_s):
                probes: list[WeightProbe | None] = await asyncio.gather(
                    *(_probe(target, self._probe.tolist()) for target in targets)
                )
        except TimeoutError:
            raise ArrivalError(
                f"{_names(targets)}: no answer to the probe of version {version} "
                f"within {deadline_s:.0f} s (weights.deadline_s)"
            ) from None
        tolerance = self._config.weights.probe_tolerance
        for target, probe in zip(targets, probes, strict=True):
            if probe is None:
                continue
            apart, words = self._apart(np.abs(np.asarray(probe.logprobs) - own))
            if probe.version != version or not apart <= tolerance:
                raise ArrivalError(
                    f"{target!r} answers as version {probe.version} with log-probs {words} "
                    f"{apart:.3g} from the learner's version {version} "
                    f"(weights.probe_tolerance = {tolerance}); restart it before it samples"
                )

    def _apart(self, differences: Float64Array) -> tuple[float, str]:
        """How far two engines with the same weights are apart, of |differences| [tokens].

        In float32 no token may be. A bfloat16 logit of 8 to 16 is rounded to 1/16, one of 16 to 32
        to 1/8, by each kernel in its own way: single tokens are off by as much, their mean is not.
        """
        if self._config.model.dtype == "float32":
            return float(differences.max()), "up to"
        return float(differences.mean()), "in the mean"


async def _probe(target: Any, token_ids: list[int]) -> WeightProbe | None:
    """Return None for a dead target: whoever replaces it asks for a push."""
    try:
        probe: WeightProbe = await target.probe.remote(token_ids)
    except ray.exceptions.RayActorError:
        push_round.end(target)
        return None
    except ray.exceptions.RayError as error:
        raise ArrivalError(f"{target!r} did not answer the probe: {last_line(error)}") from error
    return probe


def _names(targets: Sequence[Any]) -> str:
    return ", ".join(map(repr, targets))
