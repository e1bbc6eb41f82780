"""A snapshot of the learner's weights in an object store that is too small, with a disk that is
full; and one that is dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("deepspeed")

import ray
import torch

from learner.push.snapshot import SnapshotTaker
from stepcoder_dist.errors import WeightPushError

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("small_store")]

MIB = 2**20
STORE_BYTES = 80 * MIB


@pytest.fixture(scope="module")
def small_store(no_local_ray: None) -> Iterator[None]:
    """A Ray whose object store neither grows nor spills: it believes that the disk is full."""
    del no_local_ray
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=STORE_BYTES,
        _system_config={
            "automatic_object_spilling_enabled": False,
            "local_fs_capacity_threshold": 0.0,
        },
    )
    yield
    ray.shutdown()


def model_of(mib: int) -> torch.nn.Module:
    return torch.nn.ModuleList(torch.nn.Linear(512, 512, bias=False) for _ in range(mib))


class Rank:
    """One of two learner ranks."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def address(self) -> str:
        from learner.zero import zero_engine

        self.store, port = zero_engine.open_store("127.0.0.1", 2)
        return f"127.0.0.1:{port}"

    def join(self, address: str) -> None:
        os.environ["DS_ACCELERATOR"] = "cpu"
        from torch.distributed import TCPStore

        from learner.zero import zero_engine

        host, port = address.split(":")
        store = self.store if self.rank == 0 else TCPStore(host, int(port), 2)
        zero_engine.join(store, self.rank, 2, threads=1)

    def snapshot(self, mib: int, version: int) -> tuple[Any, ...]:
        return SnapshotTaker(model_of(mib), self.rank, 2, 8 * MIB).take(version)


@pytest.fixture(scope="module")
def ranks() -> Iterator[list[Any]]:
    rank_class = ray.remote(Rank).options(num_cpus=1)
    ranks = [rank_class.remote(number) for number in range(2)]
    address = ray.get(ranks[0].address.remote())
    ray.get([rank.join.remote(address) for rank in ranks])
    yield ranks
    for rank in ranks:
        ray.kill(rank)


def test_every_rank_hears_of_a_store_without_room_and_the_next_snapshot_works(
    ranks: list[Any],
) -> None:
    for answer in [rank.snapshot.remote(120, 1) for rank in ranks]:
        with pytest.raises(
            WeightPushError,
            match=r"no snapshot of version 1: bucket \d+ of 15 did not fit Ray's object store",
        ):
            ray.get(answer)
    buckets, of_others = ray.get([rank.snapshot.remote(40, 2) for rank in ranks])
    assert (len(buckets), of_others) == (5, ())
    assert ray.get(buckets[-1]).version == 2


def test_a_snapshot_leaves_the_store_when_its_holder_drops_it(ranks: list[Any]) -> None:
    for version in range(6):  # 240 MiB through 80
        buckets, _ = ray.get([rank.snapshot.remote(40, version) for rank in ranks])
        assert sum(ray.get(bucket).nbytes for bucket in buckets) == 40 * MIB
        del buckets


def test_one_that_is_held_stays_there(ranks: list[Any]) -> None:
    held, _ = ray.get([rank.snapshot.remote(60, 7) for rank in ranks])
    for answer in [rank.snapshot.remote(40, 8) for rank in ranks]:
        with pytest.raises(WeightPushError, match="no snapshot of version 8"):
            ray.get(answer)
    assert {ray.get(bucket).version for bucket in held} == {7}
