"""How long the reward of one step of another trainer takes: three ways to run its tests.

    python benchmarks/sandbox_drop_in.py [SET] [--completions 64] [--rounds 5] [--backend docker]

A step's completions are the mix of an early policy that `sandbox_samples.py` makes, most of which
fail. They are given to a TRL reward function each, in turn, on as many cores:

    subprocess   a Python process for each test, as many at a time as we have places
    exec         `exec` in this process with other standard streams: no boundary at all, one at a
                 time; an endless loop is ended by a timer
    ours         `UnitTestReward`

All run every test and have the same limit of processor time. Prints the median seconds, and checks
that all three say the same of each completion: passed or not. Problems are those on standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import math
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from rich.console import Console
from rich.table import Table
from sandbox_samples import MIX, Sample, by_kind

from sandbox.answers.comparison import equal_output
from sandbox.backend import open_pool
from sandbox.drop_in import UnitTestReward
from stepcoder_dist import problems
from stepcoder_dist.records import Outcome, Problem

LIMITED = "import resource as r; r.setrlimit(r.RLIMIT_CPU, ({0}, {0})); del r\n"
Way = Callable[[list[Sample]], list[bool]]


def both(sample: Sample) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and expected outputs."""
    return sample.tests.inputs, sample.tests.outputs


def by_subprocess(places: int, cpu_s: float) -> Way:
    """The usual way: what the program prints is compared by this process."""
    prelude = LIMITED.format(math.ceil(cpu_s))

    def passes(source: str, given: str, expected: str) -> bool:
        try:
            ended = subprocess.run(
                [sys.executable, "-c", prelude + source],
                input=given,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return ended.returncode == 0 and equal_output(expected, ended.stdout.encode(), "tokens")

    def way(samples: list[Sample]) -> list[bool]:
        with ThreadPoolExecutor(places) as threads:
            asked = [
                [
                    threads.submit(passes, sample.source, given, expected)
                    for given, expected in zip(*both(sample), strict=True)
                ]
                for sample in samples
            ]
            return [all(test.result() for test in tests) for tests in asked]

    return way


class TooLate(BaseException):
    """The timer of one test."""


def by_exec(cpu_s: float) -> Way:
    """The fastest way without any boundary: no process is started."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TooLate

    def passes(source: str, given: str, expected: str) -> bool:
        printed = io.StringIO()
        before = sys.stdin
        sys.stdin = io.StringIO(given)
        signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, "program.py", "exec"), {"__name__": "__main__"})  # noqa: S102
        except (Exception, SystemExit, TooLate):  # noqa: BLE001 - a program raises what it likes
            return False
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            sys.stdin = before
        return equal_output(expected, printed.getvalue().encode(), "tokens")

    def way(samples: list[Sample]) -> list[bool]:
        before = signal.signal(signal.SIGVTALRM, late)
        try:
            tests = [
                [passes(sample.source, *test) for test in zip(*both(sample), strict=True)]
                for sample in samples
            ]
        finally:
            signal.signal(signal.SIGVTALRM, before)
        return [all(passed) for passed in tests]

    return way


def by_ours(reward: UnitTestReward) -> Way:
    def way(samples: list[Sample]) -> list[bool]:
        rewards = reward(
            prompts=[""] * len(samples),
            completions=[f"```python\n{sample.source}\n```" for sample in samples],
            problem_id=[sample.problem_id for sample in samples],
        )
        return [value == 1.0 for value in rewards]

    return way


async def completions(spec: str, args: argparse.Namespace) -> tuple[list[Sample], list[Sample]]:
    """A step's completions, and those of them that loop without end."""
    asked = argparse.Namespace(
        seed=args.seed, programs=args.completions, containers=args.containers
    )
    async with open_pool(
        containers=args.containers, backend=args.backend, cpu_limit_s=args.cpu_limit
    ) as pool:
        kinds = await by_kind(pool, spec, asked)
    mixed = [sample for kind in MIX for sample in kinds[kind]]
    random.Random(args.seed).shuffle(mixed)
    return mixed, kinds[Outcome.TIMEOUT]


def measure(ways: dict[str, Way], samples: list[Sample], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; the ways take turns, each round begins with another."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        said = {}
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            said[name] = ways[name](samples)
            seconds[name].append(time.perf_counter() - began)
        print(
            f"round {turn + 1}:", {n: round(took[-1], 2) for n, took in seconds.items()}, flush=True
        )
        assert len({tuple(answer) for answer in said.values()}) == 1, "the ways disagree"
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", nargs="?", default="ladder:train?count=200&calls=0")
    parser.add_argument("--completions", type=int, default=64)
    parser.add_argument("--containers", type=int, default=2)
    parser.add_argument("--backend", default="docker", choices=("docker", "bubblewrap", "process"))
    parser.add_argument("--cpu-limit", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    mixed, loops = asyncio.run(completions(args.set, args))
    known: dict[str, Problem] = {p.problem_id: p for p in problems.load(args.set)}
    assert all(known[sample.problem_id].tests.fn_name is None for sample in mixed)
    table = Table(title=f"{args.set}, {args.containers} places, {args.backend}")
    for column in ("completions", "tests", "subprocess s", "exec s", "ours s", "ratio", "range"):
        table.add_column(column, justify="right")
    with UnitTestReward(
        known.values(),
        backend=args.backend,
        containers=args.containers,
        cpu_limit_s=args.cpu_limit,
    ) as reward:
        ways = {
            "subprocess": by_subprocess(args.containers, args.cpu_limit),
            "exec": by_exec(args.cpu_limit),
            "ours": by_ours(reward),
        }
        ways["ours"](mixed[:1])  # started, as it is from the second step on
        for samples in ([sample for sample in mixed if sample not in loops], mixed):
            seconds = measure(ways, samples, args.rounds)
            ratios = [a / b for a, b in zip(seconds["subprocess"], seconds["ours"], strict=True)]
            table.add_row(
                str(len(samples)),
                str(sum(len(sample.tests) for sample in samples)),
                *(f"{statistics.median(seconds[name]):.2f}" for name in ways),
                f"{statistics.median(ratios):.1f}×",
                f"{min(ratios):.1f}–{max(ratios):.1f}",
            )
    Console(width=120).print(table)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
