"""What a process of ours wrote last to its standard error, read on its node after its death.

Ray's error names the process and the address of its node, also for one that died while it started.
A small task on that node reads the end of the log that Ray keeps of it: the dashboard's agent,
which could be asked instead, does not always answer on a busy machine.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

DEADLINE_S = 5.0
"""A run that ends, or an actor that is replaced, waits no longer for the words."""
LINES = 15
_LINE_CHARACTERS = 300
_TAIL_BYTES = 2**16
_MARKS = (":job_id:", ":actor_name:", ":task_name:")
"""How lines of Ray itself begin in the log."""


async def last_words(error: Exception) -> str:
    """Return the last lines of the process that Ray reports dead, under a heading that names it.

    Returns why there are none, or nothing for an error that is no death of a process.
    """
    import ray
    from ray.exceptions import RayActorError, RayError

    place = dict(re.findall(r"^\t(pid|ip): (\S+)$", str(error), re.MULTILINE))
    if not isinstance(error, RayActorError) or place.keys() != {"pid", "ip"}:
        return ""
    process = f"process {place['pid']} on node {place['ip']}"
    nodes = [
        n for n in await asyncio.to_thread(ray.nodes) if n["NodeManagerAddress"] == place["ip"]
    ]
    alive = [str(node["NodeID"]) for node in nodes if node["Alive"]]
    if not alive:
        return f"{process}: the node is gone, and its log with it"
    try:
        async with asyncio.timeout(DEADLINE_S):
            answers = await asyncio.gather(*(_read(node, int(place["pid"])) for node in alive))
    except TimeoutError:
        return f"{process}: its log was not read within {DEADLINE_S:g} s"
    except RayError as failure:
        return f"{process}: its log was not read ({str(failure).strip().splitlines()[-1]})"
    lines = next((answer for answer in answers if answer), None)
    if lines is None:
        return f"{process} wrote nothing to its standard error"
    return "\n".join([f"the last lines of {process}:", *(f"  {line}" for line in lines)])


async def _read(node: str, pid: int) -> list[str]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    task = ray.remote(tail).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    answer = task.remote(pid)
    try:
        lines: list[str] = await answer
    except asyncio.CancelledError:
        ray.cancel(answer)
        raise
    return lines


def tail(pid: int, logs: Path | None = None) -> list[str]:
    """Return the last lines that the worker process `pid` wrote; none where it has no log here.

    `logs` is the folder of Ray's logs on this node; by default that of this process's own log.
    """
    logs = logs or Path("/proc/self/fd/2").resolve().parent
    # a number of a process may have been used before
    found = sorted(logs.glob(f"worker-*-{pid}.err"), key=lambda file: file.stat().st_mtime)
    if not found:
        return []
    with found[-1].open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    words = (_printable(line) for line in lines if not line.startswith(_MARKS))
    return [line[:_LINE_CHARACTERS] for line in words if line][-LINES:]


def _printable(line: str) -> str:
    """Return the line without colours and whatever else is meant for a terminal."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)
    return "".join(c if c.isprintable() else " " for c in plain).rstrip()
