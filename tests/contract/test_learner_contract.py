"""What every `ports.Learner` does, held against the DeepSpeed learner and the fake that ships."""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.host.checksum import checksum
from stepcoder_dist.loop.fakes import FakeLearner
from stepcoder_dist.ports import Learner
from stepcoder_dist.records import WeightBucket, WeightProbe

sys.path.append(str(Path(__file__).parent.parent / "integration"))
from learner_batches import run_config, trajectories


class HfTarget:
    """A rollout actor without vLLM: a transformers model that takes weights and answers probes."""

    def __init__(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.current = -1
        self.fault = ""
        """What goes wrong: `version`, `weights`, or nothing."""

    def start_update(self, version: int) -> None:
        del version

    def load_bucket(self, bucket: WeightBucket) -> None:
        import torch

        assert checksum(bucket.tensors) == bucket.checksum
        for name, dtype, shape, data in zip(
            bucket.names, bucket.dtypes, bucket.shapes, bucket.tensors, strict=True
        ):
            raw = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            tensor = raw.view(getattr(torch, dtype)).reshape(shape)
            if self.fault != "weights":
                self.model.get_parameter(name).data.copy_(tensor)

    def finish_update(self, version: int, buckets: int) -> None:
        assert buckets > 0
        self.current = version - (self.fault == "version")

    def abort_update(self, version: int) -> None:
        del version

    def probe(self, token_ids: Sequence[int]) -> WeightProbe:
        import torch

        with torch.no_grad():
            logits = self.model(torch.tensor([list(token_ids)])).logits[0]
        logprobs = torch.log_softmax(logits, dim=-1)
        return WeightProbe(
            version=self.current,
            logprobs=tuple(float(logprobs[i, t]) for i, t in enumerate(token_ids[1:])),
        )

    def version(self) -> int:
        return self.current

    def spoil(self, fault: str) -> None:
        self.fault = fault


class DyingTarget:
    """A rollout actor that takes whatever it is sent until its process ends in `moment`."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def start_update(self, version: int) -> None:
        del version

    def load_bucket(self, bucket: WeightBucket) -> None:
        del bucket
        self._die_in("load_bucket")

    def finish_update(self, version: int, buckets: int) -> None:
        del version, buckets

    def abort_update(self, version: int) -> None:
        del version

    def probe(self, token_ids: Sequence[int]) -> WeightProbe:
        self._die_in("probe")
        raise AssertionError(f"it was to die in {self.moment}, not to be asked {token_ids}")

    def version(self) -> int:
        return -1

    def _die_in(self, method: str) -> None:
        if self.moment == method:
            os._exit(1)


class LocalTarget:
    """For the fake, which calls its targets in its own process."""

    current = -1

    def start_update(self, version: int) -> None:
        del version

    def finish_update(self, version: int, buckets: int) -> None:
        del buckets
        self.current = version


class Harness(ABC):
    """One implementation with the targets that suit it."""

    loop: asyncio.AbstractEventLoop
    learner: Learner

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(scenario)

    @abstractmethod
    def targets(self) -> list[Any]: ...

    @abstractmethod
    async def version_of(self, target: Any) -> int: ...


class Fake(Harness):
    def __init__(self) -> None:
        self.learner = FakeLearner()

    def targets(self) -> list[Any]:
        return [LocalTarget(), LocalTarget()]

    async def version_of(self, target: Any) -> int:
        return int(target.current)


class Real(Harness):
    def __init__(self, learner: Learner, folder: str) -> None:
        import ray

        self.learner = learner
        self.actors = [ray.remote(HfTarget).remote(folder) for _ in range(2)]
        self.dying_class = ray.remote(DyingTarget)

    def one_that_dies(self, moment: str) -> Any:
        return self.dying_class.remote(moment)

    def targets(self) -> list[Any]:
        return list(self.actors)

    async def version_of(self, target: Any) -> int:
        return int(await target.version.remote())


@asynccontextmanager
async def real_learner(folder: str, **rule: object) -> AsyncIterator[Real]:
    from learner.learner_group import LearnerGroup

    # a bucket of 1 MiB holds all; the second layout of ZeRO is in tests/integration
    learner = LearnerGroup(
        run_config(
            learner={"ranks": 2, "zero_stage": 3, **rule},
            weights={"probe_tolerance": 0.001},
            sampling={"samples_per_problem": 6},
        ),
        folder,
    )
    try:
        await learner.start()
        yield Real(learner, folder)
    finally:
        await learner.close()


ONE_RANK = {"ranks": 1, "zero_stage": 2, "samples_per_step": 6, "minibatch_samples": 6}
RULES = {"deepspeed": {}, "deepspeed without a critic": {"advantage": "rloo", **ONE_RANK}}
REAL = [pytest.param(name, marks=[pytest.mark.ray, pytest.mark.deepspeed]) for name in RULES]


@pytest.fixture(scope="module", params=["fake", *REAL])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    loop = asyncio.new_event_loop()
    if request.param == "fake":
        opened: Harness = Fake()
        opened.loop = loop
        yield opened
    else:
        import ray

        request.getfixturevalue("local_ray")
        # Ray's workers cannot import a test module
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        checkpoint = str(request.getfixturevalue("tiny_checkpoint"))
        context = real_learner(checkpoint, **RULES[request.param])
        opened = loop.run_until_complete(context.__aenter__())
        opened.loop = loop
        yield opened
        loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def real(harness: Harness) -> Real:
    if not isinstance(harness, Real):
        pytest.skip("the fake does not look at its targets")
    return harness


def test_every_step_raises_the_version_by_one(harness: Harness) -> None:
    async def scenario() -> None:
        first = await harness.learner.step(trajectories(6, seed=1))
        second = await harness.learner.step(trajectories(6, seed=2))

        assert second.version == first.version + 1
        assert not first.skipped
        assert 0 < first.metrics["kept_share"] <= 1

    harness.run(scenario())


def test_a_step_without_kept_tokens_says_so_and_still_raises_the_version(harness: Harness) -> None:
    async def scenario() -> None:
        before = await harness.learner.step(trajectories(6, seed=1))
        report = await harness.learner.step(trajectories(6, seed=2, keep_share=0.0))

        assert report.skipped
        assert report.version == before.version + 1
        assert report.metrics["kept_share"] == 0.0

    harness.run(scenario())


def test_a_step_takes_a_batch_that_is_smaller_than_planned(harness: Harness) -> None:
    async def scenario() -> None:
        before = await harness.learner.step(trajectories(6, seed=1))
        report = await harness.learner.step(trajectories(1, seed=3))

        assert report.version == before.version + 1

    harness.run(scenario())


def test_publish_brings_every_target_to_the_current_version(harness: Harness) -> None:
    async def scenario() -> None:
        targets = harness.targets()
        report = await harness.learner.step(trajectories(6, seed=1))

        version = await harness.learner.publish(targets, deadline_s=60)

        assert version == report.version
        assert [await harness.version_of(target) for target in targets] == [version, version]

    harness.run(scenario())


def test_a_snapshot_is_delivered_as_it_was_taken_whatever_the_learner_does_meanwhile(
    harness: Harness,
) -> None:
    async def scenario() -> None:
        assert harness.learner.can_snapshot
        targets = harness.targets()
        old = await harness.learner.step(trajectories(6, seed=1))
        snapshot = await harness.learner.snapshot()
        new = await harness.learner.step(trajectories(6, seed=2))

        await harness.learner.deliver(snapshot, targets, deadline_s=60)

        assert snapshot.version == old.version
        assert [await harness.version_of(target) for target in targets] == [old.version] * 2
        assert await harness.learner.publish(targets[:1], deadline_s=60) == new.version
        versions = [await harness.version_of(target) for target in targets]
        assert versions == [new.version, old.version]

    harness.run(scenario())


def test_load_goes_back_to_the_version_that_was_saved_whatever_ran_before_it_was_written(
    harness: Harness, tmp_path: Path
) -> None:
    async def scenario() -> None:
        saved = await harness.learner.step(trajectories(6, seed=1))
        writing = await harness.learner.begin_save(str(tmp_path / "checkpoint"))
        await harness.learner.step(trajectories(6, seed=2))
        assert not (tmp_path / "checkpoint").exists()
        await writing

        assert await harness.learner.load(str(tmp_path / "checkpoint")) == saved.version
        report = await harness.learner.step(trajectories(6, seed=2))
        assert report.version == saved.version + 1

    harness.run(scenario())


def test_the_policy_is_written_complete_and_in_the_place_of_an_older_one(
    harness: Harness, tmp_path: Path
) -> None:
    async def scenario() -> None:
        folder = tmp_path / "hf" / "step_000001"
        await harness.learner.save_hf(str(folder))
        before = sorted(path.name for path in folder.iterdir())
        (folder / "of somebody else").touch()
        await harness.learner.save_hf(str(folder))

        assert "config.json" in before
        assert sorted(path.name for path in folder.iterdir()) == before
        assert [path.name for path in folder.parent.iterdir()] == ["step_000001"]

    harness.run(scenario())


@pytest.mark.parametrize("fault", ["version", "weights"])
def test_a_target_that_did_not_take_the_weights_is_named(real: Real, fault: str) -> None:
    async def scenario() -> None:
        await real.learner.step(trajectories(6, seed=1))
        good, bad = real.targets()
        await bad.spoil.remote(fault)

        with pytest.raises(WeightPushError) as refused:
            await real.learner.publish([good, bad], deadline_s=60)

        assert bad._actor_id.hex() in str(refused.value)
        assert good._actor_id.hex() not in str(refused.value)
        assert "restart it before it samples" in str(refused.value)

    real.run(scenario())


@pytest.mark.parametrize("moment", ["load_bucket", "probe"])
def test_a_target_that_dies_in_a_push_is_passed_over_and_the_others_get_it(
    real: Real, moment: str
) -> None:
    from ray.exceptions import ActorDiedError

    async def scenario() -> None:
        step = await real.learner.step(trajectories(6, seed=1))
        dying, (good, _) = real.one_that_dies(moment), real.targets()

        version = await real.learner.publish([dying, good], deadline_s=60)

        assert version == step.version == await real.version_of(good)
        with pytest.raises(ActorDiedError):
            await dying.version.remote()

    real.run(scenario())
