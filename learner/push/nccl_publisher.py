"""A push over vLLM's own NCCL transfer: rank 0 broadcasts from GPU to GPU.

With `ipc_publisher.py` the only files of the learner that may import vllm.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import torch
import torch.distributed
from ray.exceptions import GetTimeoutError, RayError

from learner.push.agreement import agree
from learner.push.push_round import PushRound
from learner.push.weight_buckets import plan_buckets, whole_tensors
from stepcoder_dist.errors import (
    MissingEngine,
    StepcoderError,
    TransferLost,
    WeightPushError,
    last_line,
)
from stepcoder_dist.records import WeightVersion


class NcclPublisher:
    """vLLM's own NCCL transfer: rank 0 broadcasts from GPU to GPU, packed.

    A broadcast cannot leave out a target that fails or dies, nor be interrupted: then the group is
    lost and every rank raises. It is made again when the set of targets changes.
    """

    def __init__(
        self, module: torch.nn.Module, rank: int, world_size: int, bucket_bytes: int
    ) -> None:
        check_nccl()
        self._source = zero_source(module, bucket_bytes)
        self._bucket_bytes = bucket_bytes
        self._rank = rank
        self._world_size = world_size
        self._joined: list[Any] = []
        self._engine: Any = None

    def push(self, version: WeightVersion, targets: Sequence[Any], deadline_s: float) -> None:
        """Push as `ObjectStorePublisher.push` does.

        Raises `TransferLost` where the ranks cannot continue.
        """
        if not targets:
            return
        sending = PushRound(version, targets, deadline_s)
        if list(targets) != self._joined:
            self._join(targets, deadline_s)
        if self._rank == 0:
            sending.open()
        if not self._agree(sending.report(lost_too=True)):
            try:
                _bounded(self._engine.send_weights, sending.left_s, _Outcomes())
            except WeightPushError as error:
                self._joined = []
                if self._rank == 0:
                    sending.abort_open()
                raise TransferLost(str(error)) from error
            if self._rank == 0:
                sending.commit(1)
        if self._rank == 0:
            sending.abort_open()
        report = self._agree(sending.report(lost_too=True))
        if report:
            raise WeightPushError(report)

    def _join(self, targets: Sequence[Any], deadline_s: float) -> None:
        """Make the NCCL group of rank 0 and every worker of every target.

        The targets answer rank 0 alone: no rank raises before all know how that went.
        """
        self._joined = []
        own: StepcoderError | None = None
        try:
            self._make_group(targets, deadline_s)
        except StepcoderError as error:
            own = error
        except RayError as error:
            own = WeightPushError(f"no NCCL group with the rollout actors: {last_line(error)}")
        report = self._agree(str(own or ""))
        lost = self._agree("lost" if isinstance(own, TransferLost) else "")
        if own is not None:
            raise own
        if report:
            raise TransferLost(report) if lost else WeightPushError(report)
        self._joined = list(targets)

    def _make_group(self, targets: Sequence[Any], deadline_s: float) -> None:
        from vllm.distributed.weight_transfer.factory import (
            WeightTransferTrainerFactory,
        )
        from vllm.distributed.weight_transfer.nccl_engine import (
            NCCLTrainerInitInfo,
        )

        if self._engine is not None:
            self._engine.shutdown()
        outcomes = _Outcomes()
        client = _TransferClient(targets, deadline_s, outcomes)
        init_info = NCCLTrainerInitInfo(
            rank=self._rank,
            master_address=ray.util.get_node_ip_address(),
            master_port=_free_port(),
            world_size=1 + (sum(client.ranks()) if self._rank == 0 else 0),
            # vLLM would keep two buffers of 1 GiB on both sides
            packed_buffer_size_bytes=self._bucket_bytes,
        )
        self._engine = _bounded(
            lambda: WeightTransferTrainerFactory.trainer_init(
                init_info, client=client, source=self._source
            ),
            deadline_s,
            outcomes,
        )
        if self._rank == 0 and self._engine.model_update_group.disabled:
            raise MissingEngine("vLLM's NCCL communicator is disabled: a push would do nothing")

    def _agree(self, word: str) -> str:
        return agree(word, self._world_size)


class _TransferClient:
    """What vLLM's trainer engine calls on the inference side: here, several rollout actors."""

    def __init__(self, targets: Sequence[Any], deadline_s: float, outcomes: _Outcomes) -> None:
        self._targets = targets
        self._deadline_s = deadline_s
        self._outcomes = outcomes

    def ranks(self) -> list[int]:
        """NCCL ranks of each target."""
        counts: list[int] = self._all([t.transfer_ranks.remote() for t in self._targets])
        return counts

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        calls = []
        offset = init_info["rank_offset"]
        for target, ranks in zip(self._targets, self.ranks(), strict=True):
            # vLLM counts ranks within one engine only; each actor is an engine of its own.
            calls.append(target.join_transfer.remote({**init_info, "rank_offset": offset}))
            offset += ranks
        try:
            self._all(calls)
        except Exception as error:
            # vLLM hears of it only when rank 0's side of the rendezvous returns, and that waits
            # for the very target that failed
            self._outcomes.put(error)
            raise

    def start_weight_update(self) -> None:
        """The publisher has opened the push itself: every rank has to know how that went."""

    def update_weights(self, update_info: Any) -> None:
        self._all([target.receive_update.remote(update_info) for target in self._targets])

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """The publisher commits itself, with its own version."""

    def _all(self, calls: list[Any]) -> list[Any]:
        """Return every answer; raise the first error at once, without awaiting the others."""
        ends = time.monotonic() + self._deadline_s
        waiting = list(calls)
        while waiting:
            done, waiting = ray.wait(waiting, timeout=max(0.0, ends - time.monotonic()))
            if not done:
                raise GetTimeoutError(f"no answer within {self._deadline_s:g} s")
            ray.get(done)
        answers: list[Any] = ray.get(calls)
        return answers


def zero_source(module: torch.nn.Module, bucket_bytes: int) -> Any:
    """Return a `WeightSource` of vLLM's over a module that ZeRO may have split, at any stage."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource

    class ZeroSource(WeightSource):
        """Gathers one bucket at a time on all ranks; metadata needs no gathering."""

        def metadata(self) -> list[Any]:
            return [
                ParamMeta(named.name, named.parameter.dtype, named.shape)
                for bucket in plan_buckets(module, bucket_bytes)
                for named in bucket
            ]

        def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
            return whole_tensors(plan_buckets(module, bucket_bytes))

    return ZeroSource()


def check_nccl() -> None:
    """Raise `MissingEngine` unless vLLM's NCCL transfer can work here.

    Without libnccl vLLM's communicator turns into no-ops that report success.
    """
    if not torch.cuda.is_available():
        raise MissingEngine(
            'weights.transport = "nccl" needs GPUs on the learner; use "object_store"'
        )
    try:
        from vllm.distributed.device_communicators.pynccl_wrapper import (
            NCCLLibrary,
        )
        from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource  # noqa: F401
        from vllm.distributed.weight_transfer.factory import (
            WeightTransferTrainerFactory,  # noqa: F401
        )
        from vllm.distributed.weight_transfer.nccl_engine import (
            NCCLTrainerInitInfo,  # noqa: F401
        )

        NCCLLibrary()
    except (ImportError, OSError) as error:
        raise MissingEngine(
            f'weights.transport = "nccl" needs vLLM 0.32 and libnccl on the learner ({error}); '
            'install both or use "object_store"'
        ) from error


class _Outcomes(queue.SimpleQueue[Any]):
    """How a call that may block in NCCL ended: its result, or the first error of any side."""


def _bounded(function: Callable[[], Any], deadline_s: float, outcomes: _Outcomes) -> Any:
    """Run something that may block in NCCL for ever; return its result.

    Raises `WeightPushError` for the first error in `outcomes`, its own or one that somebody else
    put there, and `TransferLost` after the deadline.
    """
    device = torch.cuda.current_device()

    def run() -> None:
        torch.cuda.set_device(device)  # a new thread begins on device 0
        try:
            outcomes.put((function(),))
        except Exception as error:  # noqa: BLE001 (raised by the caller below)
            outcomes.put(error)

    threading.Thread(target=run, daemon=True, name="weight-push").start()
    try:
        outcome = outcomes.get(timeout=deadline_s)
    except queue.Empty:
        raise TransferLost(
            f"the NCCL push hung for {deadline_s:g} s: a target died during the broadcast and the "
            "group is lost; restart the learner's ranks"
        ) from None
    if isinstance(outcome, Exception):
        raise WeightPushError(f"the NCCL push failed: {last_line(outcome)}") from outcome
    return outcome[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
