"""Whether an actor computes what the learner does: a probe's log-probs on both sides of a push.

The driver's half of the learner: no torch here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from learner.push.push_round import end
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ArrivalError, last_line
from stepcoder_dist.records import Int32Array, WeightProbe, WeightVersion

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ArrivalCheck:
    """Fixed tokens, and how far their log-probs may be from the learner's."""

    config: RunConfig
    token_ids: Int32Array
    """int32 [n], n ≥ 2."""

    async def of(
        self, target: Any, version: WeightVersion, own: Sequence[float], deadline_s: float
    ) -> None:
        """Check that the target answers the probe as the learner did, as this version.

        `own`: the learner's log-probs. Raises `ArrivalError`. A dead target passes: whoever
        replaces it asks for a push.
        """
        try:
            async with asyncio.timeout(deadline_s):
                probe = await _probe(target, self.token_ids.tolist())
        except TimeoutError:
            raise ArrivalError(
                f"{target!r}: no answer to the probe of version {version} "
                f"within {deadline_s:.0f} s (weights.deadline_s)"
            ) from None
        if probe is None:
            return
        apart, words = self._apart(np.abs(np.asarray(probe.logprobs) - np.asarray(own)))
        tolerance = self.config.weights.probe_tolerance
        if probe.version != version or not apart <= tolerance:
            raise ArrivalError(
                f"{probe.actor or repr(target)} answers as version {probe.version} with "
                f"log-probs {words} {apart:.3g} from the learner's version {version} "
                f"(weights.probe_tolerance = {tolerance}); restart it before it samples"
            )

    def _apart(self, differences: Float64Array) -> tuple[float, str]:
        """Return how far two engines with the same weights are apart, of |differences| [tokens].

        In float32 no token may be. A bfloat16 logit of 8 to 16 is rounded to 1/16, one of 16 to 32
        to 1/8, by each kernel in its own way: single tokens are off by as much, their mean is not.
        """
        if self.config.model.dtype == "float32":
            return float(differences.max()), "up to"
        return float(differences.mean()), "in the mean"


async def _probe(target: Any, token_ids: list[int]) -> WeightProbe | None:
    """Return None for a dead target."""
    try:
        probe: WeightProbe = await target.probe.remote(token_ids)
    except (RayActorError, OutOfMemoryError):
        end(target)
        return None
    except RayError as error:
        raise ArrivalError(f"{target!r} did not answer the probe: {last_line(error)}") from error
    return probe
