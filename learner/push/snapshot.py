"""The learner's weights into Ray's object store: all ranks gather, rank 0 puts each bucket once.

    all ranks   agree ─ gather 1 ─ agree ─ gather 2 ─ agree ─ gather 3 ─ …
    rank 0             └ copy 1, sum     └ copy 2, sum     └ copy 3, sum (when put 1 is over)
      its thread                 put 1 ──────────── put 2 ── …

The next bucket is gathered, copied and summed while the last one is put. Before each, rank 0 says
whether the object store still takes them: no rank is left alone in a collective. What no rank holds
in part (CPUs, below ZeRO-3) is put from where it is, without a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from learner.push.agreement import agree
from learner.push.weight_buckets import (
    NamedParameter,
    as_bytes,
    bucket_of,
    gathered,
    plan_buckets,
)
from stepcoder_dist.errors import WeightPushError, last_line
from stepcoder_dist.records import WeightVersion

_STAGED = 2
"""Copies on the host: one is filled while the other is put."""
_ALIGNED = 64
"""Bytes: where a tensor begins in a copy, for every dtype and for the checksum's words."""


class SnapshotTaker:
    """Makes snapshots of one module. Make it on every rank, after DeepSpeed has wrapped it."""

    def __init__(
        self, module: torch.nn.Module, rank: int, world_size: int, bucket_bytes: int
    ) -> None:
        self._module = module
        self._rank = rank
        self._world_size = world_size
        self._bucket_bytes = bucket_bytes
        self._staging: list[torch.Tensor] = []

    def take(self, version: WeightVersion) -> tuple[Any, ...]:
        """Return the references of the module's buckets on rank 0, none elsewhere. A collective.

        Raises `WeightPushError` on every rank when the object store did not take them.
        """
        plan = plan_buckets(self._module, self._bucket_bytes)
        with ThreadPoolExecutor(1, thread_name_prefix="weight-snapshot") as thread:
            puts: list[Future[Any]] = []
            for place, parameters in enumerate(plan):
                # waits for all puts but the last: a copy may be overwritten when its put is over
                if agree(_failure(puts[:-1], len(plan)), self._world_size):
                    break
                with gathered(parameters), torch.no_grad():
                    if self._rank == 0:
                        tensors = self._on_host(parameters, place)
                        bucket = bucket_of(parameters, version, tensors)
                        puts.append(thread.submit(ray.put, bucket))
        report = agree(_failure(puts, len(plan)), self._world_size)
        if report:
            raise WeightPushError(f"no snapshot of version {version}: {report}")
        return tuple(put.result() for put in puts)

    def _on_host(self, parameters: Sequence[NamedParameter], place: int) -> list[torch.Tensor]:
        """Return each parameter's bytes where they stay until two buckets later."""
        sources = [as_bytes(named) for named in parameters]
        on_gpu = sources[0].device.type != "cpu"
        if not on_gpu and not any(named.is_split for named in parameters):
            return sources
        staging = self._staged(place % _STAGED, _placed(sources)[-1], pinned=on_gpu)
        copies = []
        for source, start in zip(sources, _placed(sources), strict=False):
            copy = staging[start : start + source.nbytes]
            copies.append(copy.copy_(source, non_blocking=True))
        if on_gpu:
            torch.cuda.current_stream().synchronize()
        return copies

    def _staged(self, index: int, size: int, *, pinned: bool) -> torch.Tensor:
        """Return a buffer of at least `size` bytes that is kept for the next snapshots."""
        if not self._staging:
            self._staging = [torch.empty(0, dtype=torch.uint8)] * _STAGED
        if self._staging[index].nbytes < size:
            # pinned: the GPU copies at the full width of its bus, and not through a third buffer
            self._staging[index] = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        return self._staging[index]


def _placed(sources: Sequence[torch.Tensor]) -> list[int]:
    """Return where each tensor begins in a buffer, and last where the buffer ends."""
    places = [0]
    for source in sources:
        places.append(places[-1] + -(-source.nbytes // _ALIGNED) * _ALIGNED)
    return places


def _failure(puts: Sequence[Future[Any]], buckets: int) -> str:
    """Return why the object store did not take a bucket; empty when it did. Waits for the puts."""
    for place, put in enumerate(puts):
        error = put.exception()
        if isinstance(error, RayError):
            return (
                f"bucket {place + 1} of {buckets} did not fit Ray's object store "
                f"({last_line(error)}); give it room for the model: a larger /dev/shm, or "
                "`ray start --object-store-memory`"
            )
        if error is not None:
            raise error
    return ""
