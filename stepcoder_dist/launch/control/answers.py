"""What a run answers to those who ask it: its status, and the resize of its pools."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.launch.control.question import Answer, Question
from stepcoder_dist.loop.run import Run
from stepcoder_dist.loop.stages.stage_clock import Stage
from stepcoder_dist.loop.tracing.trace_log import learner_waits_for
from stepcoder_dist.pool_status import ElasticPool
from stepcoder_dist.records import WeightVersion
from stepcoder_dist.run.reservations import demand_of

POOLS = ("rollouts", "sandboxes")
_SECTION = {"rollouts": "actors", "sandboxes": "sandbox"}


class RunControl:
    """Answers for one run, in its driver."""

    def __init__(self, run: Run, folder: Path, pools: Mapping[str, ElasticPool]) -> None:
        """`pools` by the names of `POOLS`."""
        self._run = run
        self._folder = folder
        self._pools = pools

    async def answer(self, question: Question) -> Answer:
        """Answer one question. Raises `StepcoderError` for one that has an error as its answer."""
        if question.get("ask") == "status":
            return await self.status()
        if question.get("ask") == "scale":
            wanted = {name: int(question[name]) for name in POOLS if question.get(name)}
            return await self.scale(wanted, for_nodes=bool(question.get("wait_for_nodes")))
        raise RunError(f'it knows no question "{question.get("ask")}"; versions differ')

    async def scale(self, wanted: Mapping[str, int], *, for_nodes: bool = False) -> Answer:
        """Resize the named pools; answer with their sizes when that is done.

        `for_nodes`: wait for nodes that the cluster does not have yet. Raises `ConfigError` for
        what cannot be, `RunError` for processes that do not come up.
        """
        before = {name: (await self._pools[name].status()).wanted for name in POOLS}
        self._check(wanted)
        if not for_nodes and any(wanted[name] > before[name] for name in wanted):
            check_room(self._run.config, before | dict(wanted))
        resizes = [self._pools[name].resize(number) for name, number in wanted.items()]
        failures = [
            error
            for error in await asyncio.gather(*resizes, return_exceptions=True)
            if isinstance(error, BaseException)
        ]
        if failures:
            raise RunError("; ".join(map(str, failures)))
        return {
            "scaled": {name: [before[name], self._pools[name].number] for name in wanted},
            "divides_steps": self._run.config.samples_repeatably,
        }

    def _check(self, wanted: Mapping[str, int]) -> None:
        config = self._run.config
        if config.colocate and "rollouts" in wanted:
            raise ConfigError(
                "colocate = true pairs its rollout actors with the learner's ranks, so their "
                "number is fixed"
            )
        for name, number in wanted.items():
            section = _SECTION[name]
            pool = getattr(config, section)
            if number < pool.min or (pool.max is not None and number > pool.max):
                most = "" if pool.max is None else f" and [{section}] max = {pool.max}"
                raise ConfigError(
                    f"{number} {name} are not within [{section}] min = {pool.min}{most} of its run "
                    "file"
                )

    async def status(self) -> Answer:
        """Return everything that `stepcoder status` shows, as plain JSON data."""
        run, book = self._run, self._run.book
        pools = {name: await pool.status() for name, pool in self._pools.items()}
        last = run.last_step
        return {
            "run_dir": str(self._folder),
            "step": book.version,
            "steps": run.config.train.steps,
            "weights": book.published,
            "learner": learner_now(run.stages.at_work, book.version),
            "samples": {
                "under_way": len(book.open_ids),
                "buffered": book.buffered,
                **{fate.value: number for fate, number in book.fates.items()},
            },
            "pools": {
                name: {**asdict(status), "load": status.load} for name, status in pools.items()
            },
            "last_step": None
            if last is None
            else {
                "step": last.version,
                "seconds": round(last.seconds.step_s, 3),
                "bottleneck": asdict(last.bottleneck),
            },
        }


def learner_now(working: frozenset[Stage], version: WeightVersion) -> str:
    """Return what the learner does, in words; `version`: of its last finished step."""
    words = [
        said
        for stage, said in (
            (Stage.LEARNING, f"in step {version + 1}"),
            (Stage.PUSHING, "sending weights"),
            (Stage.SAVING, "writing a checkpoint"),
        )
        if stage in working
    ]
    if not words:
        reason = learner_waits_for(working)
        words = [f"waiting for the {reason}" if reason else "idle"]
    return ", ".join(words)


def check_room(config: RunConfig, sizes: Mapping[str, int]) -> None:
    """Raise `ConfigError` where the cluster's nodes do not have what pools of these sizes take.

    The run's placement group keeps the room of the rollout actors that it began with.
    """
    import ray

    present: dict[str, Any] = ray.cluster_resources()
    rollouts = max(sizes["rollouts"], config.actors.number)
    needed = demand_of(config, rollouts=rollouts, executors=sizes["sandboxes"])
    short = [
        f"{amount:g} {name} (the cluster has {present.get(name, 0):g})"
        for name, amount in needed.items()
        if present.get(name, 0) + 1e-6 < amount
    ]
    if short:
        named = " and ".join(f"{number} {name}" for name, number in sizes.items())
        raise ConfigError(
            f"{named} take, with the learner, {', '.join(short)}; ask for fewer, add nodes, or "
            "pass --wait-for-nodes where Ray's autoscaler adds them"
        )
