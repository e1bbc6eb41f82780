"""The placement of a run's processes in a cluster: one group, reserved before anything starts.

    bundle 0 … L−1   learner ranks: a bundle is the ranks of one node, on as few nodes as they fit
    bundle L …       rollout engines: a bundle is one engine with all its GPUs, so on one node

With `colocate` a bundle is a pair instead: rollout actor i with learner rank i, on one GPU.
Sandbox executors are not in the group: their pool is resized while the run lives.

Ranks are numbered by node, and by GPU where a bundle is one GPU: neighbouring ranks share a node.

Without the group Ray would place each process where there is room at that moment. Ranks would be
spread over nodes, and ZeRO's gathers would cross the network, though one node could hold them all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.run.reservations import reserved

TIMEOUT_S = 60.0
"""Seconds that other jobs may hold what the group needs."""
_GROUP = "stepcoder"
_NOTHING = {"CPU": 0.001}
"""Ray refuses an empty bundle."""

Resources = Mapping[str, float]


def plan(
    ranks: int, rank: Resources, engines: int, engine: Resources, nodes: Sequence[Resources]
) -> list[dict[str, float]]:
    """Return the group's bundles, those of the learner first.

    `rank` and `engine` are what one such process reserves, `nodes` what each node has in all.
    Raises `ConfigError` where they do not fit these nodes however they are placed.
    """
    by_room = sorted(nodes, key=lambda node: _count(node, rank), reverse=True)
    for used in range(1, min(ranks, len(nodes)) + 1):
        room = [_count(node, rank) for node in by_room[:used]]
        for split in (_filled(ranks, room), _even(ranks, room)):
            left = [dict(node) for node in by_room]
            for node, number in zip(left, split, strict=False):
                _take(node, rank, number)
            if sum(split) == ranks and all(split) and _all_fit(engines, engine, left):
                learner = [_times(rank, number) for number in split]
                return [*learner, *(dict(engine) for _ in range(engines))]
    if ranks == 0 and _all_fit(engines, engine, [dict(node) for node in nodes]):
        return [dict(engine) for _ in range(engines)]
    raise ConfigError(
        f"the cluster's nodes cannot hold {ranks} learner ranks of {_words(rank)} and {engines} "
        f"rollout engines of {_words(engine)}, each on a single node; the nodes have "
        f"{'; '.join(_words(node) for node in nodes)}; lower number, resources or tensor_parallel"
    )


def reserve(config: RunConfig, *, learner: bool, pools: bool) -> None:
    """Make the group and wait for it; it is removed with the session.

    Raises `ConfigError` when it does not fit the cluster, or not within `TIMEOUT_S`.
    """
    import ray
    from ray.util import placement_group

    engine = reserved(config.actors.resources) or _NOTHING
    rank = reserved(config.learner.resources) or _NOTHING
    if config.colocate and learner and pools:
        pair = {name: rank.get(name, 0) + engine.get(name, 0) for name in {**rank, **engine}}
        bundles = [pair] * config.learner.ranks
    else:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        bundles = plan(
            config.learner.ranks if learner else 0,
            rank,
            config.actors.number if pools else 0,
            engine,
            nodes,
        )
    if not bundles:
        return
    group = placement_group(bundles, strategy="PACK", name=_GROUP)
    try:
        ray.get(group.ready(), timeout=TIMEOUT_S)
    except ray.exceptions.GetTimeoutError:
        free = _words(ray.available_resources())
        raise ConfigError(
            f"the Ray cluster did not find room within {TIMEOUT_S:g} s for "
            f"{'; '.join(_words(bundle) for bundle in bundles)}, each on a single node; free now, "
            f"over all nodes: {free}; wait until other jobs have ended, or lower resources"
        ) from None
    _in_order(group.id.hex(), gpus=config.colocate)


def of_rollout(config: RunConfig, index: int) -> dict[str, Any]:
    """Return Ray's options that put rollout actor `index` into its bundle.

    Empty where this session has no bundle for it.
    """
    group = _group()
    if group is None:
        return {}
    if index >= config.actors.number:
        return {}
    learners = len(group.bundle_specs) - config.actors.number
    if _of_pairs(config, group):
        return _in_bundle(group, _in_order(group.id.hex(), gpus=True)[index])
    return _in_bundle(group, learners + index)


def of_rank(config: RunConfig, index: int) -> dict[str, Any]:
    """Return Ray's options that put learner rank `index` into the bundle of its node."""
    group = _group()
    if group is None:
        return {}
    order = _in_order(group.id.hex(), gpus=config.colocate)
    if _of_pairs(config, group):
        return _in_bundle(group, order[index])
    rank = reserved(config.learner.resources) or _NOTHING
    name = next(iter(rank))
    rooms = [round(bundle[name] / rank[name]) for bundle in group.bundle_specs]
    learners, held = 0, 0
    while held < config.learner.ranks:
        held, learners = held + rooms[learners], learners + 1
    before = 0
    for number in (n for n in order if n < learners):
        before += rooms[number]
        if index < before:
            return _in_bundle(group, number)
    raise IndexError(f"no bundle for learner rank {index}")


def by_node() -> dict[str, dict[str, Any]]:
    """Return Ray's options for a small task in a bundle of each node, by the node's id.

    The learner's nodes come first. Empty where this session has no group.
    """
    from ray.util import placement_group_table

    group = _group()
    if group is None:
        return {}
    nodes = placement_group_table(group)["bundles_to_node_id"]
    first: dict[str, int] = {}
    for bundle in range(len(group.bundle_specs)):
        first.setdefault(nodes[bundle], bundle)
    return {node: _in_bundle(group, bundle) for node, bundle in first.items()}


def _of_pairs(config: RunConfig, group: Any) -> bool:
    """Return whether bundle i is for rank i and actor i; a warm start has its ranks alone."""
    return config.colocate and len(group.bundle_specs) == config.learner.ranks


@functools.cache
def _in_order(group_id: str, *, gpus: bool) -> tuple[int, ...]:
    """Return the group's bundles by node, the node of bundle 0 first, and by GPU with `gpus`.

    Ask for it before the first process is in the group: a bundle's GPU is known to what runs there.
    """
    del group_id  # a session has one group
    import ray
    from ray.exceptions import RayError
    from ray.util import placement_group_table

    group = _group()
    nodes = placement_group_table(group)["bundles_to_node_id"]
    bundles = range(len(group.bundle_specs))
    first: dict[str, int] = {}
    for bundle in bundles:
        first.setdefault(nodes[bundle], bundle)
    numbers = [0] * len(bundles)
    if gpus and len(bundles) > 1 and all(spec.get("GPU") == 1 for spec in group.bundle_specs):
        look = ray.remote(_gpu)
        asked = [
            look.options(num_cpus=0, num_gpus=1, **_in_bundle(group, bundle)).remote()
            for bundle in bundles
        ]
        with contextlib.suppress(RayError):  # then by node alone
            numbers = ray.get(asked, timeout=TIMEOUT_S)
    return tuple(sorted(bundles, key=lambda bundle: (first[nodes[bundle]], numbers[bundle])))


def _gpu() -> int:
    """Return the number of this task's GPU on its node."""
    import ray

    name = str(ray.get_gpu_ids()[0])
    return int(name) if name.isdecimal() else 0  # else a UUID, as for a slice of a GPU


def _group() -> Any:
    from ray.util import get_placement_group

    try:
        return get_placement_group(_GROUP)
    except ValueError:  # Ray's answer where this session reserved none
        return None


def _in_bundle(group: Any, index: int) -> dict[str, Any]:
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return {
        "scheduling_strategy": PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=index
        )
    }


def _count(node: Resources, process: Resources) -> int:
    """Return how many such processes the node could hold."""
    return min(int(node.get(name, 0.0) / amount + 1e-6) for name, amount in process.items())


def _filled(ranks: int, room: Sequence[int]) -> list[int]:
    """Return ranks for each node, the roomiest filled first.

    Their sum is short where they do not fit.
    """
    split: list[int] = []
    for most in room:
        split.append(min(most, ranks - sum(split)))
    return split


def _even(ranks: int, room: Sequence[int]) -> list[int]:
    """Return ranks for each node, spread evenly, which can leave room for engines on all."""
    split: list[int] = []
    for index, most in enumerate(room):
        split.append(min(most, -(-(ranks - sum(split)) // (len(room) - index))))
    return split


def _take(node: dict[str, float], process: Resources, number: int) -> None:
    for name, amount in process.items():
        node[name] = node.get(name, 0.0) - number * amount


def _all_fit(engines: int, engine: Resources, nodes: list[dict[str, float]]) -> bool:
    return sum(_count(node, engine) for node in nodes) >= engines


def _times(process: Resources, number: int) -> dict[str, float]:
    return {name: number * amount for name, amount in process.items()}


def _words(resources: Resources) -> str:
    """Write resources for a reader: Ray's own markers (`node:…`, memory) are left out."""
    own = ("node:", "memory", "object_store_memory")
    shown = {k: v for k, v in resources.items() if not k.startswith(own)}
    return ", ".join(f"{amount:g} {name}" for name, amount in shown.items()) or "nothing"
