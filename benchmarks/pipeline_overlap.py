"""How much of its slowest stage a run reaches, by staleness, with stages that share no cores.

    python benchmarks/pipeline_overlap.py [--steps 6] [--median 1.0] [--learner 0.95]

Rollout engines and the learner are Ray actors whose compute is a timed wait; everything else is
real: the loops, the sample book, curriculum and planner, the pool with its admission, Ray's
streams, snapshots in the object store and their deliveries. A sample takes a time that follows
from its seed: log-normal, the 99th percentile at 8 times the median, cut at 12 times. A learner
step takes `--learner` times what the engines need for a step's samples, and up to 10% more or less.

`of slowest` compares samples/s with those of the slower of the two stages alone, for the same
samples: engines that are always full, or a learner that never waits. The first k + 2 steps, which
fill the pipeline, and the last k + 1, which empty it, are left out. `pause` is what one push costs
an engine: the seconds in which it took no samples. `busy` is the share of the engines' places that
decoded, over the complete run.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray
from rich.console import Console
from rich.table import Table
from standin_learner import StandinLearner

from actors.actor_pool import ActorPool
from actors.pool.pool_slot import Slot
from actors.pool.slot_keeper import MAX_CALLS, SlotKeeper
from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.checksum import checksum
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.fakes import ByteTokenizer
from stepcoder_dist.records import (
    Completion,
    Outcome,
    Problem,
    RolloutRequest,
    StepReport,
    TestResult,
    TestSuite,
    Trajectory,
    Verdict,
    WeightBucket,
    WeightSnapshot,
    WeightVersion,
)
from stepcoder_dist.run import session
from stepcoder_dist.run.run_folder import RunFolder
from stepcoder_dist.run.sinks.metric_sinks import JsonLines
from stepcoder_dist.text.program import PromptWriter, assemble
from stepcoder_dist.text.token_lines import token_lines

ENGINES, PLACES = 2, 16
SAMPLES, GROUP = 256, 8
P99, CUT = 8.0, 12.0
SIGMA = math.log(P99) / 2.326
BUCKETS, BUCKET_BYTES = 4, 8 * 2**20
LOAD_S = 0.02
"""Loading one bucket."""
SNAPSHOT_S = 0.1
"""Gathering the weights on the learner."""
ANSWER = "print(1)\n```"


@dataclass(frozen=True, slots=True)
class Load:
    """How long the timed stages take."""

    median_s: float
    learner_s: float

    def of_sample(self, seed: int) -> float:
        drawn = np.random.default_rng(seed).lognormal(math.log(self.median_s), SIGMA)
        return float(min(drawn, CUT * self.median_s))

    def of_step(self, version: WeightVersion) -> float:
        return self.learner_s * float(np.random.default_rng((7, version)).uniform(0.9, 1.1))


class TimedEngine:
    """A rollout actor with `PLACES` places; decoding is a wait on a clock that a swap stops."""

    def __init__(self, name: str, load: Load, *, continues: bool) -> None:
        self._name, self._load, self._continues = name, load, continues
        self._room = asyncio.Semaphore(PLACES)
        self._changed = asyncio.Condition()
        self._open = True
        self._version = 0
        self._decoding = 0
        self._stopped_s = 0.0
        self._pause_began = 0.0
        self._updates = 0
        self._paused_s = self._busy_s = 0.0

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[list[Completion]]:
        for ended in asyncio.as_completed([self._one(request) for request in share]):
            yield [await ended]

    async def _one(self, request: RolloutRequest) -> Completion:
        async with self._room:
            async with self._changed:
                await self._changed.wait_for(lambda: self._open)
                self._decoding += 1
                oldest = self._version
            took = self._load.of_sample(request.ticket.seed)
            await self._decode(took)
            async with self._changed:
                self._decoding -= 1
                self._changed.notify_all()
        self._busy_s += took
        ids, spans = ByteTokenizer().encode(ANSWER)
        program = assemble(request.given, ANSWER)
        return Completion(
            sample_id=request.ticket.sample_id,
            text=ANSWER,
            token_ids=ids,
            char_spans=spans,
            logprobs=np.full(len(ids), -1.0, dtype=np.float32),
            program=program,
            token_lines=token_lines(program, ANSWER, spans, ended=False),
            ended=False,
            oldest_weights=oldest,
            newest_weights=self._version,
            actor=self._name,
            seconds=took,
        )

    async def _decode(self, seconds: float) -> None:
        """Wait, by a clock that a swap of the weights stops."""
        ends = time.monotonic() - self._stopped_s + seconds
        left = seconds
        while left > 0:
            await asyncio.sleep(left)
            left = ends - (time.monotonic() - self._stopped_s)

    async def start_update(self, version: WeightVersion) -> None:
        del version
        self._pause_began = time.monotonic()
        if not self._continues:
            async with self._changed:
                self._open = False
                await self._changed.wait_for(lambda: self._decoding == 0)

    async def load_bucket(self, bucket: WeightBucket) -> None:
        del bucket
        if not self._continues:
            await asyncio.sleep(LOAD_S)

    async def finish_update(self, version: WeightVersion, buckets: int) -> None:
        if self._continues:
            self._pause_began = time.monotonic()
            time.sleep(LOAD_S * buckets)  # noqa: ASYNC251 (nothing is decoded meanwhile)
            self._stopped_s += time.monotonic() - self._pause_began
        async with self._changed:
            self._version, self._open = version, True
            self._changed.notify_all()
        self._paused_s += time.monotonic() - self._pause_began
        self._updates += 1

    async def abort_update(self, version: WeightVersion) -> None:
        del version
        async with self._changed:
            self._open = True
            self._changed.notify_all()

    async def figures(self) -> tuple[float, float, int]:
        """Return seconds of places that decoded, seconds paused, and updates."""
        return self._busy_s, self._paused_s, self._updates

    async def stats(self) -> None:
        """Answer: the process is up."""

    async def until_the_end(self) -> None:
        await asyncio.Event().wait()

    async def wait_until_complete(self) -> WeightVersion:
        return self._version

    async def close(self) -> None:
        """Nothing to release."""


class TimedRank:
    """The learner's process."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._version = 0

    def step(self, batch: Sequence[Trajectory]) -> StepReport:
        del batch
        time.sleep(self._load.of_step(self._version))
        self._version += 1
        return StepReport(version=self._version, skipped=False)

    def snapshot(self) -> WeightSnapshot:
        time.sleep(SNAPSHOT_S)
        return WeightSnapshot(
            version=self._version,
            buckets=tuple(ray.put(self._bucket(place)) for place in range(BUCKETS)),
            probe_logprobs=(),
        )

    def _bucket(self, place: int) -> WeightBucket:
        data = np.full(BUCKET_BYTES, place, dtype=np.uint8)
        return WeightBucket(
            version=self._version,
            names=(f"layer.{place}",),
            dtypes=("float32",),
            shapes=((BUCKET_BYTES // 4,),),
            tensors=(data,),
            checksum=checksum([data]),
        )


class TimedLearner(StandinLearner):
    """`ports.Learner` on one `TimedRank`, with the real deliveries."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._rank = ray.remote(TimedRank).options(num_cpus=0).remote(load)
        self._turn = asyncio.Lock()
        self.ended: list[float] = []
        self.batches: list[Sequence[Trajectory]] = []

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        async with self._turn:
            report: StepReport = await self._rank.step.remote(ray.put(list(batch)))
        self.ended.append(time.monotonic())
        self.batches.append(batch)
        return report

    async def snapshot(self) -> WeightSnapshot:
        async with self._turn:
            snapshot: WeightSnapshot = await self._rank.snapshot.remote()
        return snapshot

    def close(self) -> None:
        ray.kill(self._rank)


class TimedSandbox:
    """Passes everything after 20 ms."""

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        del source, problem_id
        await asyncio.sleep(0.02)
        passed = TestResult(outcome=Outcome.PASSED, executed_lines=frozenset({1}))
        return Verdict(
            outcome=Outcome.PASSED,
            tests=(passed,) * len(tests),
            structure=None,
            coverage_trusted=False,
            wall_ms=20.0,
        )


def keeper_of(load: Load, *, continues: bool) -> type[SlotKeeper]:
    """Return a keeper whose processes are timed engines."""

    class TimedKeeper(SlotKeeper):
        async def _replace_process(self, slot: Slot) -> None:
            engine = ray.remote(TimedEngine).options(
                name=slot.name, num_cpus=0, max_concurrency=MAX_CALLS
            )
            slot.handle = engine.remote(slot.name, load, continues=continues)
            await slot.handle.stats.remote()

    return TimedKeeper


def settings(staleness: int, steps: int, *, on_update: str, deterministic: bool) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "overlap",
            "deterministic": deterministic,
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sampling": {"samples_per_problem": GROUP, "max_new_tokens": 64},
            "learner": {"samples_per_step": SAMPLES, "minibatch_samples": SAMPLES},
            "actors": {"number": ENGINES, "max_batch": PLACES},
            "weights": {"on_update": on_update},
            "train": {"steps": steps, "max_staleness": staleness, "detailed_samples": 0},
        }
    )


def problems() -> list[Problem]:
    tests = TestSuite(inputs=("",), outputs=("1",))
    return [
        Problem(
            problem_id=f"one/{number}",
            statement="say 1",
            reference="print(1)\n",
            level="interview",
            tests=tests,
        )
        for number in range(64)
    ]


def counted_steps(staleness: int, steps: int) -> tuple[int, int]:
    """Return the first step that counts and the one after the last, of the run's steps."""
    return staleness + 2, steps - staleness - 1


async def measure(config: RunConfig, load: Load) -> dict[str, float]:
    """Run the pipeline; return samples/s, shares and pauses."""
    continues = config.weights.on_update == "continue"
    pool = ActorPool(config, "a-model/of-the-hub", keeper=keeper_of(load, continues=continues))
    await pool.start()
    learner = TimedLearner(load)
    writer = PromptWriter(ByteTokenizer(), config.prompt)
    pools = session.Pools(pool, TimedSandbox())
    run = session.compose(config, problems(), writer, pools, learner)
    with tempfile.TemporaryDirectory(prefix="overlap-") as folder:
        opened = RunFolder(Path(folder), config)
        begun = time.monotonic()
        sink = JsonLines(Path(folder) / "metrics.jsonl")
        await session.train(run, opened, [sink], Console(quiet=True))
        elapsed = time.monotonic() - begun
        engines = ray.get([slot.handle.figures.remote() for slot in pool._slots])  # noqa: SLF001 (their own figures)
        opened.close()
    await pool.close()
    learner.close()
    first, last = counted_steps(config.train.max_staleness, config.train.steps)
    counted = learner.batches[first:last]
    samples_s = len(counted) * SAMPLES / (learner.ended[last - 1] - learner.ended[first - 1])
    taken = [load.of_sample(t.ticket.seed) for batch in counted for t in batch]
    steps_s = [load.of_step(version) for version in range(first, last)]
    engines_alone = ENGINES * PLACES / float(np.mean(taken))
    learner_alone = SAMPLES / float(np.mean(steps_s))
    return {
        "samples_s": samples_s,
        "engines_alone": engines_alone,
        "learner_alone": learner_alone,
        "of_slowest": samples_s / min(engines_alone, learner_alone),
        "busy": sum(busy for busy, _, _ in engines) / (elapsed * ENGINES * PLACES),
        "pause_s": sum(pause for _, pause, _ in engines) / sum(n for _, _, n in engines),
        "rejected": run.book.fates[Fate.REJECTED] / (config.train.steps * SAMPLES),
        "staleness": float(
            np.mean(
                [
                    first + place - t.oldest_weights
                    for place, batch in enumerate(counted)
                    for t in batch
                ]
            )
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="steps of each row that count")
    parser.add_argument("--median", type=float, default=1.0, help="seconds of a median sample")
    parser.add_argument("--learner", type=float, default=0.95, help="of the rollouts' step")
    parser.add_argument("--staleness", type=int, nargs="*", default=[0, 1, 2, 4])
    parser.add_argument(
        "--push",
        nargs="*",
        choices=["finish", "continue", "strict"],
        default=["finish", "continue", "strict"],
        help="how versions reach the engines above staleness 0",
    )
    arguments = parser.parse_args()
    of_many = [Load(arguments.median, 0).of_sample(seed) for seed in range(20_000)]
    rollouts_s = SAMPLES / (ENGINES * PLACES) * float(np.mean(of_many))
    load = Load(arguments.median, arguments.learner * rollouts_s)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    table = Table(
        title=f"{ENGINES} engines of {PLACES} places, {SAMPLES} samples a step; rollouts alone "
        f"{rollouts_s:.1f} s a step, the learner alone {load.learner_s:.1f} s"
    )
    for name in ("staleness", "push", "samples/s", "of slowest", "busy", "pause s", "too stale"):
        table.add_column(name, justify="right")
    table.add_column("mean age", justify="right")
    rows: list[tuple[int, str, bool]] = []
    for k in arguments.staleness:
        ways = [_WAYS[name] for name in arguments.push] if k > 0 else [("finish", False)]
        rows += [(k, way, strict) for way, strict in ways]
    for k, way, strict in rows:
        # enough steps for `arguments.steps` that count
        config = settings(k, arguments.steps + 2 * k + 3, on_update=way, deterministic=strict)
        found = asyncio.run(measure(config, load))
        table.add_row(
            str(k),
            "strict lag" if strict else way,
            f"{found['samples_s']:.1f}",
            f"{found['of_slowest']:.0%}",
            f"{found['busy']:.0%}",
            f"{found['pause_s']:.2f}",
            f"{found['rejected']:.1%}",
            f"{found['staleness']:.2f}",
        )
        Console(stderr=True).print(k, way, strict, found, highlight=False)
    Console(width=110).print(table)
    ray.shutdown()


_WAYS = {
    "finish": ("finish", False),
    "continue": ("continue", False),
    "strict": ("finish", True),
}

if __name__ == "__main__":
    main()
