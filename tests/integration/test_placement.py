"""Where a run's processes go on two nodes with four GPUs each. The GPUs are names here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

import ray
from ray.cluster_utils import Cluster

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.launch.cluster import node_models, placement, ray_session

pytestmark = pytest.mark.ray


def config(
    *, ranks: int, engines: int, tensor_parallel: int = 1, colocate: bool = False
) -> RunConfig:
    gpus = 0.5 if colocate else 1.0
    return RunConfig.model_validate(
        {
            "name": "placement",
            "colocate": colocate,
            "train": {"max_staleness": 0},
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "learner": {"ranks": ranks, "resources": {"num_cpus": 1.0, "num_gpus": gpus}},
            "actors": {
                "number": engines,
                "tensor_parallel": tensor_parallel,
                "resources": {"num_cpus": 1.0, "num_gpus": gpus * tensor_parallel},
            },
        }
    )


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The home of each node: they share this machine's files, and `~/m` is a folder of each."""
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    return first, second


@pytest.fixture(scope="module")
def nodes(no_local_ray: None, homes: tuple[Path, Path]) -> Iterator[Cluster]:
    del no_local_ray
    size: dict[str, Any] = {"num_cpus": 32, "num_gpus": 4, "object_store_memory": 100_000_000}
    cluster = Cluster()
    for home in homes:
        variables = {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "RAY_AUTH_TOKEN_PATH": str(ray_session.token_file()),  # by default it is in HOME
        }
        cluster.add_node(**size, include_dashboard=False, env_vars=variables)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def session(nodes: Cluster) -> Iterator[None]:
    ray.init(address=nodes.address, log_to_driver=False)
    yield
    ray.shutdown()


def places(options: list[dict[str, Any]], num_gpus: float) -> list[tuple[str, int]]:
    """The node and the GPU of a process for each of these options, while all of them live."""

    @ray.remote
    class Process:
        def place(self) -> tuple[str, int]:
            return str(ray.get_runtime_context().get_node_id()), int(ray.get_gpu_ids()[0])

    actors = [
        Process.options(num_cpus=1, num_gpus=num_gpus, **option).remote() for option in options
    ]
    found: list[tuple[str, int]] = ray.get([a.place.remote() for a in actors], timeout=60)
    return found


def where(options: list[dict[str, Any]], num_gpus: float) -> list[str]:
    """The node of a process for each of these options."""
    return [node for node, _ in places(options, num_gpus)]


@pytest.fixture
def alternating(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster so full of other jobs that Ray finds room on one node, then on the other."""
    packed = ray.util.placement_group

    def spread(bundles: list[dict[str, float]], strategy: str, name: str) -> Any:
        del strategy
        return packed(bundles, strategy="SPREAD", name=name)

    monkeypatch.setattr(ray.util, "placement_group", spread)


@pytest.mark.usefixtures("session")
def test_ranks_share_a_node_though_the_engines_start_first() -> None:
    run = config(ranks=4, engines=2)
    placement.reserve(run, learner=True, pools=True)
    engines = where([placement.of_rollout(run, index) for index in range(2)], 1)
    ranks = where([placement.of_rank(run, index) for index in range(4)], 1)
    assert len(set(ranks)) == 1
    assert set(engines).isdisjoint(ranks)


@pytest.mark.usefixtures("session", "alternating")
def test_pairs_are_numbered_by_node_and_gpu_wherever_their_bundles_are() -> None:
    run = config(ranks=8, engines=8, colocate=True)
    placement.reserve(run, learner=True, pools=True)
    ranks = places([placement.of_rank(run, index) for index in range(8)], 0.5)
    first, second = ranks[0][0], ranks[4][0]
    assert first != second
    assert ranks == [(node, gpu) for node in (first, second) for gpu in range(4)]
    # the actor of a pair is on its rank's GPU
    actors = places([placement.of_rollout(run, index) for index in range(8)], 0.5)
    assert actors == ranks


@pytest.mark.usefixtures("session")
def test_the_ranks_of_a_warm_start_have_places_though_no_actor_is_there_to_pair() -> None:
    run = config(ranks=4, engines=4, colocate=True)
    placement.reserve(run, learner=True, pools=False)
    ranks = where([placement.of_rank(run, index) for index in range(4)], 0.5)
    assert len(set(ranks)) == 1


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


def put_model(home: Path, weights: bytes) -> None:
    folder = home / "m"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)


@pytest.mark.usefixtures("session")
def test_a_node_that_lacks_the_model_or_has_another_is_named(homes: tuple[Path, Path]) -> None:
    first, second = homes
    run = config(ranks=4, engines=4)
    placement.reserve(run, learner=True, pools=True)
    put_model(first, b"the weights")
    with pytest.raises(ConfigError, match=rf"1 of 2 nodes .*{second}/m: no model there"):
        asyncio.run(node_models.check(run, "~/m"))
    put_model(second, b"the weight!")
    with pytest.raises(ConfigError, match=r"/m: model.safetensors has other content"):
        asyncio.run(node_models.check(run, "~/m"))
    put_model(second, b"the weights")
    asyncio.run(node_models.check(run, "~/m"))
