"""`stepcoder scale` and `stepcoder status`: what is asked, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.console import open_console
from stepcoder_dist.launch.control.asking import ask

_STATUS_TIMEOUT_S = 30.0


def scale(
    *,
    run: str,
    rollouts: int | None,
    sandboxes: int | None,
    address: str,
    wait_for_nodes: bool,
    timeout_s: float,
) -> None:
    """Resize a live run's pools and print their sizes. Raises `ConfigError`, `RunError`."""
    wanted = {"rollouts": rollouts, "sandboxes": sandboxes}
    for pool, number in wanted.items():
        if number is not None and number < 1:
            raise ConfigError(f"--{pool} {number}: a pool has at least one process")
    if not any(wanted.values()):
        raise ConfigError("nothing to scale: give --rollouts N, --sandboxes M, or both")
    question = {"ask": "scale", **wanted, "wait_for_nodes": wait_for_nodes}
    name, answer = ask(question, run=run, address=address, timeout_s=timeout_s)
    for pool, (before, now) in answer["scaled"].items():
        _say(f"run {name}: {before} → {now} {pool}")
    if "rollouts" in answer["scaled"] and answer.get("divides_steps"):
        _say("a step is divided over the rollout actors when it is planned: from the next one on")


def status(*, run: str, address: str, as_json: bool) -> None:
    """Print the status of a live run. Raises `ConfigError`, `RunError`."""
    question = {"ask": "status"}
    name, answer = ask(question, run=run, address=address, timeout_s=_STATUS_TIMEOUT_S)
    if as_json:
        _say(json.dumps({"run": name, **answer}))
        return
    for line in lines(name, answer):
        _say(line)
    open_console().print(members(answer["pools"]))


def _say(line: str) -> None:
    """Print a line as it is, however long."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def lines(name: str, answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the status in sentences."""
    yield f"run {name}: step {answer['step']} of {answer['steps']}, {answer['run_dir']}"
    for pool, status in answer["pools"].items():
        states = [member["state"] for member in status["members"]]
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        yield (
            f"{pool}: {status['wanted']} wanted; {counts or 'none there'}; {status['load']} under "
            f"way, {status['waiting']} waiting"
        )
    yield f"learner: {answer['learner']}"
    samples = answer["samples"]
    yield (
        f"samples: {samples['under_way']} under way, of which {samples['buffered']} wait for the "
        f"learner; {samples.get('trained', 0)} trained, {samples.get('rejected', 0)} rejected, "
        f"{samples.get('infrastructure_error', 0)} lost"
    )
    if last := answer["last_step"]:
        yield f"step {last['step']} took {last['seconds']:.1f} s: {last['bottleneck']['text']}"


def members(pools: Mapping[str, Any]) -> Table:
    """Return a row for each process."""
    table = Table("process", "state", "now", "under way", "weights", box=None)
    for status in pools.values():
        for member in status["members"]:
            version = "" if member["version"] is None else str(member["version"])
            load = str(member["load"])
            table.add_row(member["name"], member["state"], member["now"], load, version)
    return table
