"""Each process sees the GPUs that Ray reserved for it, and no others. The GPUs are names here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("ray")

import ray

from learner.rank_process import Rank

pytestmark = pytest.mark.ray
NOSET = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}


def seen_by(actors: Sequence[Any]) -> list[str]:
    """What each of these ranks sees; they end."""

    def seen(_: Any) -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]

    answers: list[str] = ray.get([a.__ray_call__.remote(seen) for a in actors], timeout=60)
    for actor in actors:
        ray.kill(actor)
    return answers


@pytest.fixture(scope="module")
def rank(no_local_ray: None) -> Iterator[Any]:
    del no_local_ray
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        ray.init(
            address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False
        )
        yield ray.remote(Rank)
        ray.shutdown()


def test_a_process_without_a_gpu_sees_none(rank: Any) -> None:
    assert seen_by([rank.options(num_cpus=1).remote(None, "", 0, 1)]) == [""]


def test_processes_of_a_node_see_one_gpu_each_and_not_the_same(rank: Any) -> None:
    for environment in ({}, NOSET):
        on_a_gpu = rank.options(num_cpus=1, num_gpus=1, runtime_env=environment)
        actors = [on_a_gpu.remote(None, "", index, 2) for index in range(2)]
        assert sorted(seen_by(actors)) == ["0", "1"]
