"""The learner's side of a push, called on every rank: gather, agree, send, commit.

    all ranks   gather bucket 1 ─ agree ─ gather bucket 2 ─ agree ─ … ─ agree
    rank 0        start │   send 1 │                send 2 │    finish │

A bucket is gathered and copied before it is sent, and after each send rank 0 tells the others
how it went: no rank is left alone in a collective when a target fails. A target that fails is
dropped and named in the `WeightPushError` at the end; the others still get the version whole. One
that has died is dropped without an error: its pool starts another and asks for a push to that.

The only file of the learner that may import vllm, and only for the NCCL transport.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import torch
import torch.distributed
from ray.exceptions import RayError

from learner.push_round import PushRound, TransferLost
from learner.weight_buckets import gather_bucket, plan_buckets, whole_tensors
from stepcoder_dist.errors import MissingEngine, StepcoderError, WeightPushError, last_line
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
        return _agree(word, self._world_size)


def _agree(word: str, world_size: int) -> str:
    """What rank 0 says, on every rank. A collective."""
    if world_size == 1:
        return word
    box = [word]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


class NcclPublisher:
    """vLLM's own NCCL transfer: rank 0 broadcasts from GPU to GPU, packed.

    A broadcast cannot leave out a target that fails or dies, nor be interrupted: then the group is
    lost and every rank raises. It is made anew when the set of targets changes.
    """

    def __init__(
        self, module: torch.nn.Module, rank: int, world_size: int, bucket_bytes: int
    ) -> None:
        check_nccl()
        self._source = zero_source(module, bucket_bytes)
        self._rank = rank
        self._world_size = world_size
        self._joined: list[Any] = []
        self._engine: Any = None

    def push(self, version: WeightVersion, targets: Sequence[Any], deadline_s: float) -> None:
        """As `ObjectStorePublisher.push`; `TransferLost` where the ranks cannot go on."""
        if not targets:
            return
        sending = PushRound(version, targets, deadline_s)
        if list(targets) != self._joined:
            self._join(targets, deadline_s)
        if self._rank == 0:
            sending.open()
        if not self._agree(sending.report(lost_too=True)):
            try:
                _bounded(self._engine.send_weights, sending.left_s)
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
        client = _TransferClient(targets, deadline_s)
        init_info = NCCLTrainerInitInfo(
            rank=self._rank,
            master_address=ray.util.get_node_ip_address(),
            master_port=_free_port(),
            world_size=1 + (sum(client.ranks()) if self._rank == 0 else 0),
        )
        self._engine = _bounded(
            lambda: WeightTransferTrainerFactory.trainer_init(
                init_info, client=client, source=self._source
            ),
            deadline_s,
        )
        if self._rank == 0 and self._engine.model_update_group.disabled:
            raise MissingEngine("vLLM's NCCL communicator is disabled: a push would do nothing")

    def _agree(self, word: str) -> str:
        return _agree(word, self._world_size)


class _TransferClient:
    """What vLLM's trainer engine calls on the inference side: here, several rollout actors."""

    def __init__(self, targets: Sequence[Any], deadline_s: float) -> None:
        self._targets = targets
        self._deadline_s = deadline_s

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
        self._all(calls)

    def start_weight_update(self) -> None:
        """The publisher has opened the push itself: every rank has to know how that went."""

    def update_weights(self, update_info: Any) -> None:
        self._all([target.receive_update.remote(update_info) for target in self._targets])

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """The publisher commits itself, with its own version."""

    def _all(self, calls: list[Any]) -> list[Any]:
        answers: list[Any] = ray.get(calls, timeout=self._deadline_s)
        return answers


def zero_source(module: torch.nn.Module, bucket_bytes: int) -> Any:
    """A `WeightSource` of vLLM's over a module that ZeRO may have split, at any stage."""
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


def _bounded(function: Callable[[], Any], deadline_s: float) -> Any:
    """Run something that may block in NCCL for ever.

    Raises `TransferLost` after the deadline, `WeightPushError` for an error of its own.
    """
    device = torch.cuda.current_device()
    box: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        torch.cuda.set_device(device)  # a new thread begins on device 0
        try:
            box.append(function())
        except Exception as error:  # noqa: BLE001 (told to the caller below)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="weight-push")
    thread.start()
    thread.join(deadline_s)
    if errors:
        raise WeightPushError(f"the NCCL push failed: {last_line(errors[0])}") from errors[0]
    if not box:
        raise TransferLost(
            f"the NCCL push hung for {deadline_s:g} s: a target died in mid-broadcast and the "
            "group is lost; restart the learner's ranks"
        )
    return box[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
