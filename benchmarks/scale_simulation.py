"""How many samples a second one driver process carries, by rollout actors and sandbox slots.

    python benchmarks/scale_simulation.py [--actors 8 64 256 1024] [--seconds 10]
    python benchmarks/scale_simulation.py --actors 1024 --profile 20   where the driver's time goes
    python benchmarks/scale_simulation.py --actors 16 --hour           memory over an hour
    python benchmarks/scale_simulation.py --actors 32 --ray            real Ray actors

The driver is real: both loops, sample book, curriculum, planner, prompts, programs, masks, the
pools with their admission and queue, deliveries of weights, ledger, rows and trace on disk.
Engines, executors and the learner are objects in the driver's process that wait and compute nothing
(`simulated_parts.py`); what they cost is in the figures. An engine offers 5 samples/s (16 places,
3.2 s a sample); there are 4 sandbox slots for each, and a judgement takes 0.5 s.

`a core carries`: samples by the processor seconds of the driver's process, on a clock that jumps to
the next event, where the driver never waits. `carried`: samples/s on the machine's clock, as far as
`offered` asks for them; `core` is the share of a core that it took. Samples that were planned,
sampled and judged count; `trained` is the share that was not too old then (the longest takes more
than 20 of these short steps). With `--ray` engines and
executors are Ray actors without a CPU, on the machine's clock only.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import ray
import simulated_here
import simulated_on_ray
from rich.console import Console
from rich.table import Table
from simulated_clock import SimulatedClockLoop
from simulated_parts import Learner, Load, problems
from stack_sampler import StackSampler

from stepcoder_dist.config import RunConfig
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.run import session
from stepcoder_dist.run.ledger_report import report
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter
from stepcoder_dist.text.tokenization import load_tokenizer

TOKENIZER = Path(__file__).parents[1] / "deploy/models/ladder-sft"
PLACES, SLOTS, CONTAINERS, GROUP = 16, 4, 8, 8
STALENESS = 4
SAMPLE_S, JUDGE_S = 3.2, 0.5
OFFERED = PLACES / SAMPLE_S
"""Samples/s of one engine."""
PROBLEMS = 1000


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of the driver's process at the end of a learner step."""

    simulated: float
    wall: float
    cpu: float
    thread: float
    """Processor seconds of the event loop's thread; Ray has others in the process."""
    samples: int
    """That ended, trained or too old."""
    trained: int
    rss_mb: float


@dataclass(slots=True)
class Marks:
    """What is noted at the ends of learner steps; the process is profiled between two of them."""

    first: int
    last: int
    profile: StackSampler | None = None
    seen: list[Mark] = field(default_factory=list)
    fates: Counter[Fate] = field(default_factory=Counter)
    """The run's."""
    trained: int = 0

    def step_ended(self, samples: int) -> None:
        self.trained += samples
        now = asyncio.get_running_loop().time()
        spent = time.process_time(), time.thread_time()
        ended = self.fates.total()
        mark = Mark(now, time.monotonic(), *spent, ended, self.trained, rss_mb())
        self.seen.append(mark)
        if self.profile is not None:
            if len(self.seen) == self.first + 1:
                self.profile.enable()
            elif len(self.seen) == self.last + 1:
                self.profile.disable()

    @property
    def ends(self) -> tuple[Mark, Mark]:
        """The marks between which figures count."""
        return self.seen[self.first], self.seen[self.last]


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def settings(actors: int, steps: int) -> RunConfig:
    """Return a run whose step is what the engines make in 0.8 s."""
    step = max(actors * PLACES // 4, 64)
    return RunConfig.model_validate(
        {
            "name": "scale",
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sampling": {"samples_per_problem": GROUP, "max_new_tokens": 512},
            "learner": {"samples_per_step": step, "minibatch_samples": step},
            "actors": {"number": actors, "max_batch": PLACES},
            "sandbox": {
                "number": max(actors * SLOTS // CONTAINERS, 1),
                "containers": CONTAINERS,
                "backend": "process",
            },
            "weights": {"on_update": "continue"},
            "train": {"steps": steps, "max_staleness": STALENESS},
        }
    )


async def drive(config: RunConfig, marks: Marks, parts: Any = simulated_here) -> None:
    """Run the driver. Raises `SystemExit` where its ledger does not balance.

    `parts` is the module that makes the pools.
    """
    step = config.learner.samples_per_step
    offered = config.actors.number * OFFERED
    # a learner that is a little faster than the engines
    load = Load(sample_s=SAMPLE_S, judge_s=JUDGE_S, step_s=0.8 * step / offered)
    rollouts, executors = parts.rollout_pool(config, load), parts.executor_pool(config, load)
    await asyncio.gather(rollouts.start(), executors.start())
    learner = Learner(load, None, marks.step_ended)
    writer = PromptWriter(load_tokenizer(TOKENIZER), config.prompt)
    pools = session.Pools(rollouts, executors)
    run = session.compose(config, problems(PROBLEMS), writer, pools, learner)
    marks.fates = run.book.fates
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        opened = RunFolder(Path(folder), config)
        sink = JsonLines(Path(folder) / "metrics.jsonl")
        await session.train(run, opened, [sink], Console(quiet=True))
        opened.close()
        await asyncio.gather(rollouts.close(), executors.close())
        account = report(Path(folder))
    if not account.balances:
        raise SystemExit("\n".join(account.lines))


def measured(
    actors: int,
    samples: float,
    loop: Callable[[], asyncio.AbstractEventLoop],
    profile: StackSampler | None = None,
    parts: Any = simulated_here,
) -> Marks:
    """Drive so many actors until so many samples count.

    They count when the pipeline is full, and on the simulated clock when every problem was drawn
    once: prompts are encoded then.
    """
    step = settings(actors, 1).learner.samples_per_step
    first = STALENESS + 1
    if loop is SimulatedClockLoop:
        first = max(first, math.ceil(PROBLEMS * GROUP / step) - STALENESS)
    last = first + max(math.ceil(samples / step), 2)
    marks = Marks(first, last, profile)
    gc.collect()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(drive(settings(actors, last + STALENESS + 1), marks, parts))
    return marks


def rates(marks: Marks) -> tuple[float, float, float]:
    """Return samples by wall-clock second, by processor second, and by simulated second."""
    begin, end = marks.ends
    samples = end.samples - begin.samples
    return (
        samples / (end.wall - begin.wall),
        samples / (end.cpu - begin.cpu),
        samples / (end.simulated - begin.simulated),
    )


def table(actors: list[int], seconds: float, samples: float) -> Table:
    found = Table(title="One driver process, simulated engines, sandbox and learner")
    for name in ("actors", "slots", "offered /s", "carried /s", "core", "a core carries /s"):
        found.add_column(name, justify="right")
    found.add_column("µs a sample", justify="right")
    found.add_column("trained", justify="right")
    for number in actors:
        offered = number * OFFERED
        wall, cpu, _ = rates(measured(number, offered * seconds, asyncio.SelectorEventLoop))
        marks = measured(number, samples, SimulatedClockLoop)
        _, capacity, _ = rates(marks)
        begin, end = marks.ends
        found.add_row(
            str(number),
            str(max(number * SLOTS, CONTAINERS)),
            f"{offered:,.0f}",
            f"{wall:,.0f}",
            f"{wall / cpu:.0%}",
            f"{capacity:,.0f}",
            f"{1e6 / capacity:.0f}",
            f"{(end.trained - begin.trained) / (end.samples - begin.samples):.0%}",
        )
    return found


def print_profile(actors: int, samples: float, rows: int) -> None:
    """Print what the driver's seconds go to, by function, and what by package."""
    profile = StackSampler()
    begin, end = measured(actors, samples, SimulatedClockLoop, profile).ends
    each = 1e6 * (end.cpu - begin.cpu) / (end.samples - begin.samples) / profile.number
    print(f"{actors} actors: {each * profile.number:.0f} µs a sample, {profile.number} stacks")
    by_file: Counter[str] = Counter()
    for code, number in profile.own.items():
        by_file[_place(code)] += number
    print("   own  file")
    for place, number in by_file.most_common(rows):
        print(f"{number * each:6.1f}  {place}")
    print("   own  total  function")
    for code, number in profile.own.most_common(rows):
        place = f"{_place(code)}:{code.co_firstlineno} {code.co_qualname}"
        print(f"{number * each:6.1f} {profile.total[code] * each:6.1f}  {place}")


def _place(code: CodeType) -> str:
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.name}"


def print_hour(actors: int, simulated_s: float) -> None:
    """Print the memory of the driver's process over simulated time."""
    marks = measured(actors, actors * OFFERED * simulated_s, SimulatedClockLoop)
    begin, end = marks.ends
    spent = end.cpu - begin.cpu
    print(
        f"{actors} actors, {end.simulated - begin.simulated:,.0f} simulated s, "
        f"{end.samples - begin.samples:,} samples in {spent:.0f} processor seconds"
    )
    counted = marks.seen[marks.first : marks.last + 1]
    for part in range(7):
        mark = counted[part * (len(counted) - 1) // 6]
        print(f"  {mark.simulated - begin.simulated:6.0f} s: {mark.rss_mb:.1f} MB resident")


def print_ray(actors: int, seconds: float) -> None:
    """Print what a driver carries whose engines and executors are Ray actors."""
    ray.init(
        num_cpus=1,
        object_store_memory=200 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
    )
    try:
        offered = actors * OFFERED
        marks = measured(
            actors, offered * seconds, asyncio.SelectorEventLoop, parts=simulated_on_ray
        )
    finally:
        ray.shutdown()
    wall, cpu, _ = rates(marks)
    begin, end = marks.ends
    loop = (end.thread - begin.thread) / (end.samples - begin.samples)
    executors = settings(actors, 1).sandbox.number
    print(
        f"{actors} engines and {executors} executors on Ray: {offered:,.0f} samples/s offered, "
        f"{wall:,.0f} carried by {wall / cpu:.0%} of a core: {1e6 / cpu:.0f} µs of the driver's "
        f"process a sample, {1e6 * loop:.0f} of the loop's thread; a core carries {cpu:,.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--actors", type=int, nargs="+", default=[8, 64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=10, help="of a row on the machine's clock")
    parser.add_argument("--samples", type=float, default=20_000, help="on the simulated clock")
    parser.add_argument("--profile", type=int, metavar="N", help="print the N largest functions")
    parser.add_argument("--hour", action="store_true", help="print memory over simulated time")
    parser.add_argument("--simulated-s", type=float, default=3600, help="of --hour")
    parser.add_argument("--ray", action="store_true", help="engines and executors as Ray actors")
    arguments = parser.parse_args()
    if arguments.ray:
        print_ray(arguments.actors[-1], arguments.seconds)
    elif arguments.profile:
        print_profile(arguments.actors[-1], arguments.samples, arguments.profile)
    elif arguments.hour:
        print_hour(arguments.actors[-1], arguments.simulated_s)
    else:
        Console(width=100).print(table(arguments.actors, arguments.seconds, arguments.samples))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
