"""How the learner's ranks agree on an NCCL group that cannot be made. The transfer itself needs two
GPUs (tests/integration/test_weight_push.py)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("ray")
pytest.importorskip("torch")

from learner import weight_publisher
from learner.push_round import TransferLost
from learner.weight_publisher import NcclPublisher
from stepcoder_dist.errors import WeightPushError

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

    monkeypatch.setattr(weight_publisher, "check_nccl", lambda: None)
    monkeypatch.setattr(weight_publisher, "zero_source", lambda *_: None)
    monkeypatch.setattr(weight_publisher, "_agree", agree)
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
