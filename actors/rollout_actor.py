"""The Ray actor around one vLLM engine: shares in, completions out, weights pushed to it.

`sample` is a streaming generator: Ray hands completions to the caller as they are yielded. The
other half answers as a `ports.WeightTarget`. Importing this file is cheap: vLLM is imported in
the actor's own process, after the environment that it reads is set.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from actors.actor_metrics import ActorMetrics
from actors.checkpoint_folder import CheckpointFolder
from actors.engine_load import EngineLoad
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.host import collector, model_source, scratch, visible_gpus
from stepcoder_dist.records import (
    Completion,
    RolloutRequest,
    TakenUpdate,
    WeightBucket,
    WeightProbe,
    WeightVersion,
)


def environment(config: RunConfig) -> dict[str, str]:
    """Return what vLLM and torch read when they are imported; a user's own settings go first."""
    variables = {
        # The engine in this process: `uni` executors need it, and completions skip a border.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    if config.actors.resources.num_gpus == 0:
        # Without it the first sample waits 15 s for a C++ compiler to make one small kernel.
        variables["TORCHDYNAMO_DISABLE"] = "1"
    if config.actors.threads is not None:
        # As of a learner's rank: threads that spin for one without a core take it from that one.
        variables["GOMP_SPINCOUNT"] = "1000"
    chosen = {name: os.environ.get(name, value) for name, value in variables.items()}
    if config.actors.threads is not None:
        # Ray has set it already, from the reservation; torch reads it when it is loaded.
        chosen["OMP_NUM_THREADS"] = str(config.actors.threads)
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorStats:
    """One rollout actor as it is now; counts are since its process began."""

    name: str
    pid: int
    state: str
    """`ready`, `updating` or `awaiting weights`."""
    version: WeightVersion
    decoding: int
    """Samples inside the engine."""
    finished_samples: int
    sampled_tokens: int
    busy_s: float
    """Seconds that the engine spent decoding."""
    load: EngineLoad
    paused_s: float
    """Seconds in which pushes kept the engine from taking samples."""

    @property
    def now(self) -> str:
        """What the actor does, in words."""
        if self.state == "updating":
            return "taking weights"
        return f"decoding {self.decoding}" if self.decoding else "idle"


class RolloutActor:
    """Made by `ActorPool` through `ray.remote`; all methods are coroutines on one loop."""

    _name = "rollout"
    """Ray asks for `repr` after a constructor that raised, too."""

    def __init__(
        self, name: str, checkpoint: str, config: RunConfig, *, awaits_weights: bool
    ) -> None:
        self._name = name
        visible_gpus.show_only(ray.get_gpu_ids())
        os.environ.update(environment(config))
        self._scratch = _own_temporary_folder()
        # before vLLM's ten seconds: a folder that cannot be read is reported at once
        CheckpointFolder(model_source.find(checkpoint)).parameter_shapes()
        with collector.resting():
            from actors.vllm_sampler import VllmSampler

        self._transfer_ranks = config.actors.tensor_parallel
        self._metrics = ActorMetrics(name)
        self._sampler = VllmSampler(
            checkpoint,
            config,
            name=name,
            awaits_weights=awaits_weights,
            on_load=self._metrics.show_load,
        )
        self._stopped_at = time.monotonic()
        self._whole = asyncio.Event()
        if not awaits_weights:
            self._whole.set()

    def __repr__(self) -> str:
        """Return its name: Ray shows it in the dashboard and before each line that it prints."""
        return self._name

    # ---- ports.Sampler, one engine of it ----

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[list[Completion]]:
        """See `VllmSampler.sample`. Cancelling the call takes the share out of the engine."""
        with self._metrics.share(len(share)) as left:
            async for together in self._sampler.sample(share):
                for completion in together:
                    left.finished(completion)
                yield together

    async def rest(self) -> None:
        await self._sampler.rest()

    # ---- ports.WeightTarget ----

    async def start_update(self, version: WeightVersion) -> None:
        with self._named():
            await self._sampler.start_update(version)
        self._stopped_at = time.monotonic()

    async def load_bucket(self, bucket: WeightBucket) -> None:
        with self._named():
            await self._sampler.load_bucket(bucket)

    async def finish_update(self, version: WeightVersion, buckets: int) -> TakenUpdate:
        with self._named():
            paused_s = await self._sampler.finish_update(version, buckets)
        self._metrics.pause.observe(time.monotonic() - self._stopped_at)
        self._metrics.version.set(version)
        self._whole.set()
        return TakenUpdate(actor=self._name, paused_s=paused_s)

    async def abort_update(self, version: WeightVersion) -> None:
        await self._sampler.abort_update(version)

    async def probe(self, token_ids: Sequence[int]) -> WeightProbe:
        return replace(await self._sampler.probe(token_ids), actor=self._name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Put the actor's name before what is wrong with an update: Ray's own is a number."""
        try:
            yield
        except WeightPushError as error:
            raise WeightPushError(f"{self._name}: {error}") from error

    # ---- the extra steps of vLLM's own transport ----

    async def transfer_ranks(self) -> int:
        """Return how many ranks this actor takes in an NCCL group: one for each engine worker."""
        return self._transfer_ranks

    async def join_transfer(self, init_info: dict[str, Any]) -> None:
        await self._sampler.join_transfer(init_info)

    async def receive_update(self, update_info: dict[str, Any]) -> None:
        await self._sampler.receive_update(update_info)

    # ---- for the pool ----

    async def wait_until_complete(self) -> WeightVersion:
        """Return when the actor holds one complete weight version, and say which."""
        while True:
            await self._whole.wait()
            stats = await self._sampler.stats()
            if stats.state != "awaiting weights":
                return stats.version
            self._whole.clear()

    async def until_the_end(self) -> None:
        """Never return: Ray fails the call at once when this process ends."""
        await asyncio.Event().wait()

    async def stats(self) -> ActorStats:
        sampler = await self._sampler.stats()
        return ActorStats(
            name=self._name,
            pid=os.getpid(),
            state=str(sampler.state),
            version=sampler.version,
            decoding=sampler.decoding,
            finished_samples=sampler.finished_samples,
            sampled_tokens=sampler.sampled_tokens,
            busy_s=sampler.busy_s,
            load=sampler.load,
            paused_s=sampler.paused_s,
        )

    async def close(self) -> None:
        """Release the engine and the processes that it may have."""
        await asyncio.to_thread(self._sampler.close)
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)


def _own_temporary_folder() -> Path:
    """Return where this process's libraries put temporary files, one for each engine of vLLM."""
    # Kernels that torch compiled are worth keeping. By number: a container may have no user name.
    kept = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept))
    folder = scratch.make("rollout")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder
