"""A push over CUDA IPC, where actor and rank share a GPU: engines read the ranks' own memory.

    each rank   gather, pack chunk 1 ─ swap handles ─────────────── agree ─ pack chunk 2 ─ …
    rank 0                                            every target reads

Each rank packs the chunk into a buffer on its GPU. Rank 0 sends all handles to all targets, and
each engine opens that of its own GPU, by the GPU's UUID. No byte leaves a GPU but for ZeRO's
gathering. A target that fails is dropped and named, as over the object store.

With `nccl_publisher.py` the only files of the learner that may import vllm: packing and its wire
format are vLLM's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed

from learner.push.agreement import agree, swapped
from learner.push.push_round import PushRound
from learner.push.weight_buckets import plan_buckets, whole_tensors
from stepcoder_dist.errors import MissingEngine, WeightPushError
from stepcoder_dist.records import WeightVersion


class IpcPublisher:
    """vLLM's packed IPC transfer, with every rank as the sender of the engine on its GPU."""

    def __init__(
        self, module: torch.nn.Module, rank: int, world_size: int, bucket_bytes: int
    ) -> None:
        check_ipc()
        self._plan = plan_buckets(module, bucket_bytes)
        # a tensor is never cut: the buffer holds the largest
        self._chunk_bytes = max(
            [bucket_bytes, *(named.nbytes for bucket in self._plan for named in bucket)]
        )
        self._rank = rank
        self._world_size = world_size
        self._prepared: list[Any] = []

    def push(self, version: WeightVersion, targets: Sequence[Any], deadline_s: float) -> None:
        """Send the module's weights to every target. Call it on every rank.

        Raises `WeightPushError` on every rank, naming each target that lives and did not commit.
        """
        if not targets:
            return
        sending = PushRound(version, targets, deadline_s)
        if self._rank == 0:
            self._open(sending, targets)
        sent = 0
        for chunk in self._chunks():
            # also waits until every rank's buffer is written
            handles = _merged(swapped(chunk.ipc_handle, self._world_size))
            if self._rank == 0:
                sending.ask("receive_update", _update_info(chunk, handles))
            sent += 1
            # no rank packs the next chunk into its buffer before every engine has read this one
            if agree(sending.gave_up, self._world_size):
                break
        if self._rank == 0:
            sending.commit(sent)
            sending.abort_open()
        # engines have closed their mappings: the buffer's memory may be reused
        torch.cuda.ipc_collect()  # type: ignore[no-untyped-call]
        report = agree(sending.report(), self._world_size)
        if report:
            raise WeightPushError(report)

    def _open(self, sending: PushRound, targets: Sequence[Any]) -> None:
        if list(targets) != self._prepared:
            sending.ask("join_transfer", {"packed": True})
            self._prepared = sending.alive
        sending.open()

    def _chunks(self) -> Iterator[Any]:
        """Yield vLLM's chunks, each in the same buffer. A collective."""
        from vllm.distributed.weight_transfer.packed_tensor import packed_ipc_producer

        uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
        tensors = whole_tensors(self._plan)
        chunks: Iterator[Any] = packed_ipc_producer(
            tensors, uuid, lambda named: named[1], self._chunk_bytes
        )
        return chunks


def _merged(handles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the handles of all ranks by the UUID of their GPU."""
    merged: dict[str, Any] = {}
    for of_one_rank in handles:
        merged |= of_one_rank
    return merged


def _update_info(chunk: Any, handles: dict[str, Any]) -> dict[str, Any]:
    """Return what vLLM's `IPCWeightTransferUpdateInfo` is made of."""
    return {
        "names": chunk.names,
        "dtype_names": chunk.dtype_names,
        "shapes": chunk.shapes,
        "tensor_sizes": chunk.tensor_sizes,
        "ipc_handles": handles,
    }


def check_ipc() -> None:
    """Raise `MissingEngine` unless CUDA IPC and vLLM's half of it can work here."""
    if not torch.cuda.is_available():
        raise MissingEngine(
            'weights.transport = "ipc" needs a GPU that actor and rank share; use "object_store"'
        )
    try:
        from vllm.distributed.weight_transfer.packed_tensor import (
            PackedBufferImporter,  # noqa: F401
            packed_ipc_producer,  # noqa: F401
        )
    except ImportError as error:
        raise MissingEngine(
            f'weights.transport = "ipc" needs vLLM 0.32 on the learner ({error}); '
            'install it or use "object_store"'
        ) from error
