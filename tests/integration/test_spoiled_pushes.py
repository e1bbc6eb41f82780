"""Pushes whose weights are wrong, to a real engine: each is noticed before its version is in use.

What the learner answers to the probe comes from its own weights; what travels is spoiled.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")

sys.path.insert(0, str(Path(__file__).parents[1]))
import ray
import torch
from rollouts_for_tests import rollout_config, tempered_logprobs
from test_weight_push import changed_model

from actors.actor_pool import ActorPool
from learner.push.arrival import ArrivalCheck
from learner.push.delivery import Deliveries
from learner.push.weight_buckets import pack, plan_buckets
from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.host.checksum import checksum
from stepcoder_dist.records import WeightBucket, WeightSnapshot

pytestmark = [
    pytest.mark.faults,
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.usefixtures("local_ray"),
]

BUCKET_BYTES = 2**16
PROBE = np.arange(20, 68, dtype=np.int32)


@dataclass
class Pushing:
    """One real actor, and a learner's side that can send what it does not hold."""

    pool: ActorPool
    runner: asyncio.Runner
    check: ArrivalCheck
    checkpoint: Path
    version: int = 0

    def model(self, version: int) -> Any:
        """The learner's weights of a version: far enough apart for two to answer otherwise."""
        model = changed_model(self.checkpoint, seed=version)
        return model.to(getattr(torch, self.check.config.model.dtype))

    def push(self, buckets: Sequence[WeightBucket]) -> None:
        """Deliver these as the next version; the probe is what that version's weights answer."""
        self.version += 1
        ids = self.check.token_ids.tolist()
        own = tempered_logprobs(self.model(self.version), ids[:1], ids[1:])
        labelled = [dataclasses.replace(bucket, version=self.version) for bucket in buckets]
        snapshot = WeightSnapshot(
            version=self.version,
            buckets=tuple(ray.put(bucket) for bucket in labelled),
            probe_logprobs=tuple(float(each) for each in own),
        )

        async def deliver() -> None:
            targets = await self.pool.weight_targets()
            await Deliveries().deliver(snapshot, targets, self.check, 60)

        self.runner.run(deliver())

    def buckets(self, version: int) -> list[WeightBucket]:
        return [pack(plan, version) for plan in plan_buckets(self.model(version), BUCKET_BYTES)]


@pytest.fixture(
    scope="module", params=["float32", pytest.param("bfloat16", marks=pytest.mark.long)]
)
def pushing(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, local_ray: None
) -> Iterator[Pushing]:
    del local_ray
    config = rollout_config(tiny_checkpoint)
    model = config.model.model_copy(update={"dtype": request.param})
    config = config.model_copy(update={"model": model})
    pool = ActorPool(config, tiny_checkpoint)
    pool._slots[0].name = f"rollout-{request.param}"
    with asyncio.Runner() as runner:
        try:
            runner.run(pool.start())
            yield Pushing(pool, runner, ArrivalCheck(config, PROBE), tiny_checkpoint)
        finally:
            runner.run(pool.close())


def without_its_first_tensor(bucket: WeightBucket) -> WeightBucket:
    return dataclasses.replace(
        bucket,
        names=bucket.names[1:],
        dtypes=bucket.dtypes[1:],
        shapes=bucket.shapes[1:],
        tensors=bucket.tensors[1:],
        checksum=checksum(bucket.tensors[1:]),
    )


def with_layers_swapped(bucket: WeightBucket) -> WeightBucket:
    other = {"0": "1", "1": "0"}
    names = (name.split(".") for name in bucket.names)
    swapped = (".".join(other.get(part, part) for part in parts) for parts in names)
    return dataclasses.replace(bucket, names=tuple(swapped))


def test_a_good_push_passes(pushing: Pushing) -> None:
    for _ in range(2):
        pushing.push(pushing.buckets(pushing.version + 1))


def test_a_push_that_loses_a_tensor_is_refused_by_the_actors_name(pushing: Pushing) -> None:
    first, *rest = pushing.buckets(pushing.version + 1)
    name = pushing.pool._slots[0].name
    with pytest.raises(WeightPushError, match=f"{name}: .*1 parameters are missing"):
        pushing.push([without_its_first_tensor(first), *rest])
    pushing.push(pushing.buckets(pushing.version + 1))


def test_a_push_that_swaps_two_layers_is_noticed_by_what_the_actor_answers(
    pushing: Pushing,
) -> None:
    name = pushing.pool._slots[0].name
    buckets = pushing.buckets(pushing.version + 1)
    with pytest.raises(WeightPushError, match=f"{name} answers as version .* from the learner's"):
        pushing.push([with_layers_swapped(bucket) for bucket in buckets])
    pushing.push(pushing.buckets(pushing.version + 1))


def test_a_push_of_the_weights_before_is_noticed_by_what_the_actor_answers(
    pushing: Pushing,
) -> None:
    name = pushing.pool._slots[0].name
    with pytest.raises(WeightPushError, match=f"{name} answers as version .* from the learner's"):
        pushing.push(pushing.buckets(pushing.version))
    pushing.push(pushing.buckets(pushing.version + 1))
