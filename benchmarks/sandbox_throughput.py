"""How fast the sandbox judges, next to other ways of doing the same job, in one run.

    python benchmarks/sandbox_throughput.py [--containers 2] [--seconds 8] [--image NAME]

Every way judges the same programs, five tests each, with `--containers` at a time. Prints, for each
kind of program and each way: programs per second, median and 95th percentile latency, programs per
second and core, and the ratio to a fresh `python -I` for each test on the host, which confines
nothing. `coverage.py` and `slipcover` run where they are installed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sandbox.containers.container_pool import ContainerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import Outcome, TestSuite

ROUNDS = 3

TRIVIAL = "n = int(input())\nif n > 2:\n    n += 1\nprint(n)\n"
TYPICAL = """\
import sys
from collections import defaultdict

def solve(words, width):
    counts = defaultdict(int)
    for word in words:
        counts[word.lower().strip(".,")] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines, line = [], ""
    for word, count in ranked:
        entry = f"{word}:{count}"
        if line and len(line) + 1 + len(entry) > width:
            lines.append(line)
            line = entry
        else:
            line = f"{line} {entry}".strip()
    return lines + [line]

data = sys.stdin.read().split()
print(len(solve(data[1:], int(data[0]))))
"""
CPU_BOUND = """\
n = int(input())
total = 0
for i in range(60000):
    if i % 3 == n % 3:
        total += i * n
    else:
        total -= i
print(total % 1000003)
"""


@dataclass(frozen=True, slots=True)
class Program:
    kind: str
    source: str
    tests: TestSuite


Way = Callable[[Program], Awaitable[None]]

DRIVER = """\
import contextlib, io, json, sys
task = json.load(sys.stdin)
code = compile(task["source"], "program", "exec")
for text in task["inputs"]:
    sys.stdin, out = io.StringIO(text), io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {"__name__": "__main__"})
    print(json.dumps(out.getvalue()))
"""
"""All tests of a program in one process, as a plain harness would."""


def programs() -> list[Program]:
    """Three kinds, with expected outputs by running each on the host."""
    words = " ".join(f"word{i % 17}, and" for i in range(60))
    inputs = {
        "trivial": (TRIVIAL, [f"{n}\n" for n in range(5)]),
        "typical": (TYPICAL, [f"{30 + n} {words}\n" for n in range(5)]),
        "CPU-bound": (CPU_BOUND, [f"{n}\n" for n in range(5)]),
    }
    return [
        Program(
            kind, source, TestSuite(inputs=tuple(texts), outputs=tuple(_expected(source, texts)))
        )
        for kind, (source, texts) in inputs.items()
    ]


def _expected(source: str, inputs: list[str]) -> list[str]:
    run = [sys.executable, "-I", "-c", source]
    return [
        subprocess.run(run, input=text, capture_output=True, text=True, check=True).stdout
        for text in inputs
    ]


async def _outputs(command: list[str], text: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate(text.encode())
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])}…: {error.decode()[-300:]}")
    return out.decode()


def fresh_python(*flags: str) -> Way:
    """A process on the host for each test."""

    async def judge(program: Program) -> None:
        for text, expected in zip(program.tests.inputs, program.tests.outputs, strict=True):
            out = await _outputs([sys.executable, *flags, "-c", program.source], text)
            assert out == expected

    return judge


def measured_python(file: str, *flags: str) -> Way:
    """A process on the host for each program, under a coverage tool."""

    async def judge(program: Program) -> None:
        task = {"source": program.source, "inputs": list(program.tests.inputs)}
        out = await _outputs([sys.executable, *flags, file], json.dumps(task))
        assert [json.loads(line) for line in out.splitlines()[:5]] == list(program.tests.outputs)

    return judge


def in_docker(*command: str) -> Way:
    """One `docker run` or `docker exec` for each program."""

    async def judge(program: Program) -> None:
        task = {"source": program.source, "inputs": list(program.tests.inputs)}
        out = await _outputs([*command, "python3", "-I", "-c", DRIVER], json.dumps(task))
        assert [json.loads(line) for line in out.splitlines()] == list(program.tests.outputs)

    return judge


def with_pool(pool: ContainerPool) -> Way:
    """Ours: expected values outside, coverage as the pool is made."""

    async def judge(program: Program) -> None:
        verdict = await pool.judge(program.source, program.tests, problem_id=program.kind)
        assert verdict.outcome is Outcome.PASSED, verdict

    return judge


async def measure(
    way: Way, program: Program, *, jobs: int, seconds: float
) -> tuple[list[float], float]:
    """Latencies in seconds of what was finished, at least one for each job, and how long all took.

    A job begins a last one until the time is up, so it may take longer.
    """
    start = time.perf_counter()
    end = start + seconds
    latencies: list[float] = []

    async def work() -> None:
        while True:
            began = time.perf_counter()
            await way(program)
            latencies.append(time.perf_counter() - began)
            if time.perf_counter() > end:
                return

    await asyncio.gather(*(work() for _ in range(jobs)))
    return latencies, time.perf_counter() - start


def docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--containers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--image", default="stepcoder-sandbox:latest")
    chosen = parser.parse_args()
    config = SandboxConfig(containers=chosen.containers, image=chosen.image)
    pool = ContainerPool(config)
    without = ContainerPool(config.model_copy(update={"coverage": False}))
    await asyncio.gather(pool.start(), without.start())
    name = f"throughput-{os.getpid()}"
    confined = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534"]
    await asyncio.to_thread(
        docker, "run", "--rm", "-d", "--name", name, *confined, chosen.image, "sleep", "3600"
    )
    ways: dict[str, Way] = {
        "fresh python -I per test (host)": fresh_python("-I"),
        "ours: warm container, coverage": with_pool(pool),
        "ours: the same without coverage": with_pool(without),
        "docker exec per program": in_docker("docker", "exec", "-i", name),
        "docker run per program": in_docker("docker", "run", "--rm", "-i", *confined, chosen.image),
    }
    scratch = Path(tempfile.mkdtemp(prefix="throughput-"))
    data_file = f"--data-file={scratch / 'coverage'}"  # coverage removes what lies there first
    for module, flags in (("coverage", ("run", data_file)), ("slipcover", ())):
        if importlib.util.find_spec(module):
            file = scratch / "driver.py"
            file.write_text(DRIVER, encoding="utf-8")
            ways[f"{module} per program (host)"] = measured_python(str(file), "-m", module, *flags)
    try:
        await report(ways, chosen.containers, chosen.seconds)
    finally:
        shutil.rmtree(scratch)
        await asyncio.to_thread(docker, "rm", "-f", name)
        await asyncio.gather(pool.close(), without.close())


async def report(ways: dict[str, Way], jobs: int, seconds: float) -> None:
    cores = os.cpu_count() or 1
    table = Table(title=f"{jobs} at a time on {cores} cores, 5 tests a program")
    for column in ("program", "way", "programs/s", "p50 ms", "p95 ms", "per core", "ratio"):
        table.add_column(column, justify="left" if column in ("program", "way") else "right")
    for program in programs():
        base = 0.0
        latencies: dict[str, list[float]] = {name: [] for name in ways}
        spent = dict.fromkeys(ways, 0.0)
        for way in ways.values():
            await way(program)  # the first one pays for caches
        for _ in range(ROUNDS):  # in turn: whatever else the machine does meets all of them
            for name, way in ways.items():
                more, took = await measure(way, program, jobs=jobs, seconds=seconds / ROUNDS)
                latencies[name] += more
                spent[name] += took
        for name in ways:
            taken = sorted(latencies[name])
            rate = len(taken) / spent[name]
            base = base or rate
            table.add_row(
                program.kind,
                name,
                f"{rate:.1f}",
                f"{1000 * taken[len(taken) // 2]:.1f}",
                f"{1000 * taken[int(0.95 * (len(taken) - 1))]:.1f}",
                f"{rate / cores:.1f}",
                f"{rate / base:.1f}×",
            )
        table.add_section()
    Console(width=110).print(table)


if __name__ == "__main__":
    asyncio.run(main())
