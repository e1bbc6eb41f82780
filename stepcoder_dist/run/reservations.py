"""The resources that a run's processes reserve of a machine or a cluster, by Ray's names."""

from __future__ import annotations

from stepcoder_dist.config import ProcessResources, RunConfig


def demand(config: RunConfig, *, learner: bool = True, pools: bool = True) -> dict[str, float]:
    """Return what all processes of the run reserve, by Ray's resource names."""
    processes: list[tuple[int, ProcessResources]] = []
    if learner:
        processes.append((config.learner.ranks, config.learner.resources))
    if pools:
        processes.append((config.actors.number, config.actors.resources))
        processes.append((config.sandbox.number, config.sandbox.resources))
    total: dict[str, float] = {}
    for number, each in processes:
        for name, amount in reserved(each).items():
            total[name] = total.get(name, 0.0) + number * amount
    return total


def reserved(each: ProcessResources) -> dict[str, float]:
    """Return what one process reserves, by Ray's resource names."""
    wanted = {"CPU": each.num_cpus, "GPU": each.num_gpus, **each.custom}
    return {name: amount for name, amount in wanted.items() if amount}
