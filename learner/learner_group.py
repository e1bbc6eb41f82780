"""The driver's handle on the learner: implements `ports.Learner` over all ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from learner import push_round
from learner.ranks import RankGroup
from learner.worker import LearnerWorker
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.records import StepReport, Trajectory, WeightProbe, WeightVersion

PROBE_TOKENS = 24
PUSH_GRACE_S = 30.0
"""How much longer than its deadline a push may take to report its own failure."""


class LearnerGroup:
    """Policy, critic and reference on `learner.ranks` ranks. `start` first, `close` at the end."""

    def __init__(
        self, config: RunConfig, checkpoint: str, probe_token_ids: Sequence[int] | None = None
    ) -> None:
        """`checkpoint`: the Hugging Face folder of version 0 and of the reference.

        `probe_token_ids`: at least 2 ids whose log-probs are compared after each push.

        Text that the model knows (a prompt with its reference) gives the smallest rounding
        differences in bfloat16; without it, ids are drawn from the vocabulary.
        """
        self._config = config
        self._ranks = RankGroup(LearnerWorker, config, checkpoint)
        self._probe = np.asarray([] if probe_token_ids is None else probe_token_ids, dtype=np.int32)

    async def start(self) -> None:
        """Start the ranks and load the networks."""
        await self._ranks.start()
        if len(self._probe) == 0:
            vocabulary = await self._ranks.call_one(0, "vocabulary")
            generator = np.random.default_rng(self._config.seed)
            self._probe = generator.integers(0, vocabulary, PROBE_TOKENS).astype(np.int32)

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        """One PPO step on the whole batch. Raises `LearnerError`."""
        report: StepReport = (await self._ranks.call("step", ray.put(list(batch))))[0]
        return report

    async def publish(self, targets: Sequence[Any], *, deadline_s: float) -> WeightVersion:
        """Push to every target that lives, then compare a probe. Raises `WeightPushError`."""
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
        await self._check_arrival(version, targets, deadline_s)
        return version

    async def probe_logprobs(self, token_ids: Sequence[int]) -> tuple[float, ...]:
        """Log-probs at temperature 1 of tokens 1…n−1 under the learner's weights."""
        ids = np.asarray(token_ids, dtype=np.int32)
        return tuple((await self._ranks.call("probe_logprobs", ids))[0])

    async def save(self, folder: str) -> None:
        """Write a checkpoint; it appears whole or not at all."""
        await self._ranks.call("save", folder)

    async def load(self, folder: str) -> WeightVersion:
        """Raises `UserError` for a truncated or foreign checkpoint, before anything is changed."""
        await self._ranks.call_one(0, "verify", folder)
        version: WeightVersion = (await self._ranks.call("load", folder))[0]
        return version

    async def save_hf(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder."""
        await self._ranks.call("save_hf", folder)

    async def close(self) -> None:
        """End every rank."""
        await self._ranks.close()

    async def _check_arrival(
        self, version: WeightVersion, targets: Sequence[Any], deadline_s: float
    ) -> None:
        """Every target that lives has to answer the probe as the learner does, as this version."""
        own = np.asarray(await self.probe_logprobs(self._probe.tolist()))
        try:
            async with asyncio.timeout(deadline_s):
                probes: list[WeightProbe | None] = await asyncio.gather(
                    *(_probe(target, self._probe.tolist()) for target in targets)
                )
        except TimeoutError:
            raise WeightPushError(
                f"{_names(targets)}: no answer to the probe of version {version} "
                f"within {deadline_s:.0f} s (weights.deadline_s)"
            ) from None
        tolerance = self._config.weights.probe_tolerance
        for target, probe in zip(targets, probes, strict=True):
            if probe is None:
                continue
            worst = float(np.abs(np.asarray(probe.logprobs) - own).max())
            if probe.version != version or not worst <= tolerance:
                raise WeightPushError(
                    f"{target!r} answers as version {probe.version} with log-probs up to "
                    f"{worst:.3g} from the learner's version {version} "
                    f"(weights.probe_tolerance = {tolerance}); restart it before it samples"
                )


async def _probe(target: Any, token_ids: list[int]) -> WeightProbe | None:
    """None: the target has died, and whoever replaces it asks for a push."""
    try:
        probe: WeightProbe = await target.probe.remote(token_ids)
    except ray.exceptions.RayActorError:
        push_round.end(target)
        return None
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightPushError(f"{target!r} did not answer the probe: {reason}") from error
    return probe


def _names(targets: Sequence[Any]) -> str:
    return ", ".join(map(repr, targets))
