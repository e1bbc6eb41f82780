"""The resources that a run's processes reserve of a machine or a cluster, by Ray's names."""

from __future__ import annotations

from collections.abc import Iterable

from stepcoder_dist.config import ProcessResources, RunConfig


def demand(
    config: RunConfig, *, learner: bool = True, pools: bool = True, grown: bool = False
) -> dict[str, float]:
    """Return what all processes of the run reserve, by Ray's resource names.

    `grown`: with as many in each pool as it may grow to.
    """
    processes: list[tuple[int, ProcessResources]] = []
    if learner:
        processes.append((config.learner.ranks, config.learner.resources))
    if pools:
        processes += (
            (pool.most if grown else pool.number, pool.resources)
            for pool in (config.actors, config.sandbox)
        )
    return _sum(processes)


def demand_of(config: RunConfig, *, rollouts: int, executors: int) -> dict[str, float]:
    """Return what the run reserves with pools of these sizes, by Ray's resource names."""
    return _sum(
        [
            (config.learner.ranks, config.learner.resources),
            (rollouts, config.actors.resources),
            (executors, config.sandbox.resources),
        ]
    )


def _sum(processes: Iterable[tuple[int, ProcessResources]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for number, each in processes:
        for name, amount in reserved(each).items():
            total[name] = total.get(name, 0.0) + number * amount
    return total


def reserved(each: ProcessResources) -> dict[str, float]:
    """Return what one process reserves, by Ray's resource names."""
    wanted = {"CPU": each.num_cpus, "GPU": each.num_gpus, **each.custom}
    return {name: amount for name, amount in wanted.items() if amount}
