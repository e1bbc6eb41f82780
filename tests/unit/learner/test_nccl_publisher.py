"""How the learner's ranks agree on an NCCL group that cannot be made. The transfer itself needs two
GPUs (tests/integration/test_weight_push.py)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("torch")

from learner.push import nccl_publisher
from learner.push.nccl_publisher import NcclPublisher
from stepcoder_dist.errors import TransferLost, WeightPushError

RANKS = 2


def raised_by_rank(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> list[BaseException]:
    """Push on two ranks, with a group that rank 0 fails to make; what each rank raises."""
    meet = threading.Barrier(RANKS)
    words: dict[str, str] = {}

    def agree(word: str, _world_size: int) -> str:
        if threading.current_thread().name == "rank_0":
            words["said"] = word
        meet.wait(timeout=10)
        said = words["said"]
        meet.wait(timeout=10)
        return said

    def make_group(self: NcclPublisher, *_: object) -> None:
        if self._rank == 0:
            raise failure

    monkeypatch.setattr(nccl_publisher, "check_nccl", lambda: None)
    monkeypatch.setattr(nccl_publisher, "zero_source", lambda *_: None)
    monkeypatch.setattr(nccl_publisher, "agree", agree)
    monkeypatch.setattr(NcclPublisher, "_make_group", make_group)

    def push(rank: int) -> BaseException:
        threading.current_thread().name = f"rank_{rank}"
        with pytest.raises(Exception) as raised:  # noqa: PT011 - the tests look at it
            NcclPublisher(None, rank, RANKS, 1).push(1, ["a target"], 5.0)  # type: ignore[arg-type]
        return raised.value

    with ThreadPoolExecutor(RANKS) as threads:
        return list(threads.map(push, range(RANKS)))


def test_a_target_that_refuses_is_heard_of_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in raised_by_rank(monkeypatch, WeightPushError("it refuses to join")):
        assert isinstance(error, WeightPushError)
        assert not isinstance(error, TransferLost)
        assert "it refuses to join" in str(error)


def test_a_group_that_hangs_is_lost_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in raised_by_rank(monkeypatch, TransferLost("the NCCL push hung for 5 s")):
        assert isinstance(error, TransferLost)
        assert "hung" in str(error)


class Target:
    """A rollout actor's methods, as remote calls that answer with what they are given."""

    def __init__(self, joins: Any) -> None:
        self.transfer_ranks = Remote(1)
        self.join_transfer = Remote(joins)


class Remote:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def remote(self, *_: object) -> Any:
        return self._answer


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """vLLM's side on a machine without GPUs: what it is told, and a rendezvous that waits for
    every target."""
    factory = pytest.importorskip("vllm.distributed.weight_transfer.factory")
    made = SimpleNamespace(init_info=None, everybody_joined=threading.Event())

    def trainer_init(init_info: Any, *, client: Any, source: Any) -> Any:
        del source
        made.init_info = init_info
        with ThreadPoolExecutor(1) as side:
            joined = side.submit(client.init_weight_transfer_engine, {"rank_offset": 1})
            made.everybody_joined.wait(timeout=60)
            joined.result()
        return SimpleNamespace(model_update_group=SimpleNamespace(disabled=False))

    def get(calls: Any, **_: object) -> Any:
        for call in calls if isinstance(calls, list) else [calls]:
            if isinstance(call, Exception):
                raise call
        return calls

    monkeypatch.setattr(factory.WeightTransferTrainerFactory, "trainer_init", trainer_init)
    monkeypatch.setattr(nccl_publisher, "check_nccl", lambda: None)
    monkeypatch.setattr(nccl_publisher, "zero_source", lambda *_: None)
    monkeypatch.setattr(nccl_publisher.torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(nccl_publisher.torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(nccl_publisher.ray, "get", get)
    monkeypatch.setattr(nccl_publisher.ray, "wait", lambda calls, **_: (calls[-1:], calls[:-1]))
    monkeypatch.setattr(nccl_publisher.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    return made


def test_the_buckets_size_reaches_vllms_packed_buffers(trainer: SimpleNamespace) -> None:
    trainer.everybody_joined.set()
    publisher = NcclPublisher(None, 0, 1, 64 << 20)  # type: ignore[arg-type]
    publisher._make_group([Target("joined")], 5.0)
    assert trainer.init_info.packed_buffer_size_bytes == 64 << 20


def test_a_target_that_cannot_join_is_heard_while_rank_0_still_waits_for_it(
    trainer: SimpleNamespace,
) -> None:
    publisher = NcclPublisher(None, 0, 1, 1)  # type: ignore[arg-type]
    targets = [Target("joined"), Target(WeightPushError("vLLM found no NCCL library here"))]
    try:
        with pytest.raises(WeightPushError, match="vLLM found no NCCL library here"):
            publisher._make_group(targets, 60.0)
    finally:
        trainer.everybody_joined.set()
