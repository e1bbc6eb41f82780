"""The GPUs and drivers of the cluster's nodes, each read by a task that runs there."""

from __future__ import annotations

from stepcoder_dist.doctor import gpu_probes
from stepcoder_dist.doctor.gpu_probes import Card
from stepcoder_dist.errors import ConfigError

_TIMEOUT_S = 60.0


def cards() -> dict[str, list[Card]]:
    """Return the GPUs of each living node that has some, by the node's address.

    Call it after `ray.init`. A node without NVIDIA's tool lists none. Raises `ConfigError` where a
    node does not answer.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("GPU"):
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            task = ray.remote(gpu_probes.cards).options(num_cpus=0, scheduling_strategy=there)
            asked[node["NodeManagerAddress"]] = task.remote()
    try:
        answers = ray.get(list(asked.values()), timeout=_TIMEOUT_S)
    except ray.exceptions.RayError as error:
        raise ConfigError(
            f"a GPU node of the cluster did not report its GPUs ({str(error).splitlines()[0]}); "
            "is the project installed on every node?"
        ) from None
    return dict(zip(asked, answers, strict=True))


def refuse_old_drivers() -> None:
    """Raise a `ConfigError` that names the nodes whose driver is too old for CUDA 13."""
    old = {address: gpu_probes.too_old(found) for address, found in cards().items()}
    named = [f"{address}: {what}" for address, what in old.items() if what]
    if named:
        raise ConfigError(f"{'; '.join(named)}; {gpu_probes.DRIVER_FIX}")
