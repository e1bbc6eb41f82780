"""How throughput grows with containers, and what a warm container costs.

    python benchmarks/sandbox_scaling.py [--containers 1 2 4 …] [--sleep 2] [--seconds 12]

The programs sleep and hardly compute, so containers, not cores, are what there is too few of: a
pool that holds nothing up judges `containers / (sleep + its own time)` programs a second until its
own time for each, of which cores have so much to give, is the limit. Each program has one test.
Memory is each container's share of what its process 1 and the engine's shim have resident
(proportional set size, the mean over the pool, after the last program).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sandbox.containers.container import connect
from sandbox.containers.container_pool import ContainerPool
from sandbox.containers.orphans import OWNER_LABEL, owner
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import Outcome, TestSuite


def resident_mib() -> tuple[float, float]:
    """Of this process's containers, on the average: process 1, and the shim that it belongs to."""
    client = connect()
    own = {"label": f"{OWNER_LABEL}={owner()}"}
    found = [c.attrs["State"]["Pid"] for c in client.containers.list(filters=own)]
    client.close()
    zygotes = [_share_mib(pid) for pid in found]
    shims = [_share_mib(_parent(pid)) for pid in found]
    return sum(zygotes) / len(found), sum(shims) / len(found)


def _share_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


def busy_s() -> float:
    """Processor seconds that all cores together have spent, on this and on all else."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = (
        int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split()[1:11]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


async def measure(containers: int, sleep_s: float, seconds: float, image: str) -> dict[str, float]:
    source = f"import time\ntime.sleep({sleep_s})\nprint(input())\n"
    begun = time.perf_counter()
    async with ContainerPool(SandboxConfig(containers=containers, image=image)) as pool:
        start_s = time.perf_counter() - begun
        taken: list[float] = []
        end = time.perf_counter() + seconds

        async def work(number: int) -> None:
            tests = TestSuite(inputs=("1\n",), outputs=("1\n",))
            while time.perf_counter() < end:
                verdict = await pool.judge(source, tests, problem_id=str(number))
                assert verdict.outcome is Outcome.PASSED, verdict
                taken.append(time.perf_counter())

        busy, begun = busy_s(), time.perf_counter()
        await asyncio.gather(*(work(number) for number in range(2 * containers)))
        last = time.perf_counter()
        busy = busy_s() - busy
        zygote, shim = await asyncio.to_thread(resident_mib)
    return {
        "rate": len(taken) / (last - begun),
        "busy": busy / (last - begun),
        "start_s": start_s,
        "zygote_mib": zygote,
        "shim_mib": shim,
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--containers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], metavar="N"
    )
    parser.add_argument("--sleep", type=float, default=2.0, help="seconds that a program sleeps")
    parser.add_argument("--seconds", type=float, default=12.0, help="for each number")
    parser.add_argument("--image", default="stepcoder-sandbox:latest")
    chosen = parser.parse_args()
    cores = os.cpu_count() or 1
    table = Table(title=f"programs that sleep {chosen.sleep:g} s, {cores} cores")
    for column in (
        "containers",
        "programs/s",
        "of what containers allow",
        "cores busy",
        "start, s",
        "MiB each",
        "and its shim",
    ):
        table.add_column(column, justify="right")
    for containers in chosen.containers:
        seen = await measure(containers, chosen.sleep, chosen.seconds, chosen.image)
        table.add_row(
            str(containers),
            f"{seen['rate']:.1f}",
            f"{seen['rate'] * chosen.sleep / containers:.0%}",
            f"{seen['busy']:.1f}",
            f"{seen['start_s']:.1f}",
            f"{seen['zygote_mib']:.0f}",
            f"{seen['shim_mib']:.0f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    asyncio.run(main())
