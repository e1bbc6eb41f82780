"""Where a run's processes go on two nodes with four GPUs each. The GPUs are names here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("ray")

import ray
from ray.cluster_utils import Cluster

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.launch.cluster import placement

pytestmark = pytest.mark.ray


def config(*, ranks: int, engines: int, tensor_parallel: int = 1) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "placement",
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "learner": {"ranks": ranks, "resources": {"num_cpus": 1.0, "num_gpus": 1.0}},
            "actors": {
                "number": engines,
                "tensor_parallel": tensor_parallel,
                "resources": {"num_cpus": 1.0, "num_gpus": float(tensor_parallel)},
            },
        }
    )


@pytest.fixture(scope="module")
def nodes(no_local_ray: None) -> Iterator[Cluster]:
    del no_local_ray
    size = {"num_cpus": 32, "num_gpus": 4, "object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    cluster.add_node(**size)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def session(nodes: Cluster) -> Iterator[None]:
    ray.init(address=nodes.address, log_to_driver=False)
    yield
    ray.shutdown()


def where(options: list[dict[str, Any]], num_gpus: float) -> list[str]:
    """The node of a process for each of these options."""

    @ray.remote
    class Process:
        def node(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    actors = [
        Process.options(num_cpus=1, num_gpus=num_gpus, **option).remote() for option in options
    ]
    found: list[str] = ray.get([actor.node.remote() for actor in actors], timeout=60)
    return found


@pytest.mark.usefixtures("session")
def test_ranks_share_a_node_though_the_engines_start_first() -> None:
    run = config(ranks=4, engines=2)
    placement.reserve(run, learner=True, pools=True)
    engines = where([placement.of_rollout(run, index) for index in range(2)], 1)
    ranks = where([placement.of_rank(run, index) for index in range(4)], 1)
    assert len(set(ranks)) == 1
    assert set(engines).isdisjoint(ranks)


@pytest.mark.usefixtures("session")
def test_engines_with_tensor_parallelism_are_whole_on_a_node() -> None:
    run = config(ranks=2, engines=3, tensor_parallel=2)
    placement.reserve(run, learner=True, pools=True)
    ranks = where([placement.of_rank(run, index) for index in range(2)], 1)
    engines = where([placement.of_rollout(run, index) for index in range(3)], 2)
    assert len(set(ranks)) == 1
    assert sorted(engines.count(node) for node in set(engines)) == [1, 2]


@pytest.mark.usefixtures("session")
def test_a_replaced_process_goes_back_to_its_place_and_one_beyond_the_group_anywhere() -> None:
    run = config(ranks=1, engines=1)
    placement.reserve(run, learner=False, pools=True)
    assert where([placement.of_rollout(run, 0)], 1)
    assert placement.of_rollout(run, 1) == {}


@pytest.mark.usefixtures("session")
def test_what_other_jobs_hold_is_waited_for_and_then_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocker = ray.util.placement_group([{"GPU": 3}, {"GPU": 3}], strategy="STRICT_SPREAD")
    ray.get(blocker.ready(), timeout=60)
    monkeypatch.setattr(placement, "TIMEOUT_S", 1.0)
    with pytest.raises(ConfigError, match=r"room within 1 s for 4 CPU, 4 GPU.*2 GPU"):
        placement.reserve(config(ranks=4, engines=1), learner=True, pools=False)
