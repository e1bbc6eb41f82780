"""The learner's side of a push, called on every rank: gather, agree, send, commit.

    all ranks   gather bucket 1 ─ agree ─ gather bucket 2 ─ agree ─ … ─ agree
    rank 0        start │   send 1 │                send 2 │    finish │

A bucket is gathered and copied before it is sent, and after each send rank 0 reports to the others
how it went: no rank is left alone in a collective when a target fails. A target that fails is
dropped and named in the `WeightPushError` at the end; the others still get all of it. One
that has died is dropped without an error: its pool starts another and asks for a push to that.

`nccl_publisher.py` has the same over NCCL, by vLLM's own transfer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed

from learner.push.agreement import agree
from learner.push.push_round import PushRound
from learner.push.weight_buckets import gather_bucket, plan_buckets
from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.ports import WeightPublisher
from stepcoder_dist.records import WeightVersion


def make_publisher(
    transport: str, module: torch.nn.Module, rank: int, world_size: int, bucket_bytes: int
) -> WeightPublisher:
    """The publisher for `weights.transport`; `module` is the Hugging Face model inside the engine.

    Make it on every rank, after DeepSpeed has wrapped the module. Raises `MissingEngine` when
    "nccl" is asked for and cannot work here.
    """
    if transport == "nccl":
        from learner.push.nccl_publisher import NcclPublisher

        return NcclPublisher(module, rank, world_size, bucket_bytes)
    return ObjectStorePublisher(module, rank, world_size, bucket_bytes)


class ObjectStorePublisher:
    """Buckets through Ray's object store: put once, read by every target, on any device."""

    def __init__(
        self, module: torch.nn.Module, rank: int, world_size: int, bucket_bytes: int
    ) -> None:
        self._module = module
        self._rank = rank
        self._world_size = world_size
        self._bucket_bytes = bucket_bytes

    def push(self, version: WeightVersion, targets: Sequence[Any], deadline_s: float) -> None:
        """Send the module's weights to every target. Call it on every rank.

        Raises `WeightPushError` on every rank, naming each target that lives and did not commit.
        """
        if not targets:
            return
        sending = PushRound(version, targets, deadline_s)
        plan = plan_buckets(self._module, self._bucket_bytes)
        if self._rank == 0:
            sending.open()
        for place, parameters in enumerate(plan):
            if self._agree(sending.gave_up):
                break
            bucket = gather_bucket(parameters, version, keep=self._rank == 0)
            if self._world_size > 1:
                # Collectives of one rank that overlap with the send of another can deadlock.
                torch.distributed.barrier()
            if bucket is not None:
                sending.send(bucket, place)
        if self._rank == 0:
            sending.commit(len(plan))
            sending.abort_open()
        report = self._agree(sending.report())
        if report:
            raise WeightPushError(report)

    def _agree(self, word: str) -> str:
        return agree(word, self._world_size)
