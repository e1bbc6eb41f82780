"""Engines, executors and a learner that take time and compute nothing, for `scale_simulation.py`.

They answer as the processes do that the driver's pools talk to, in this process or as Ray actors.
A sample and a judgement take a time that follows from a seed: log-normal, the 99th percentile at
8 times the median.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from standin_learner import StandinLearner

from sandbox.pool.executor_actor import NodeBackend
from stepcoder_dist.records import (
    Completion,
    LineStructure,
    Outcome,
    Problem,
    Program,
    RolloutRequest,
    StepReport,
    TakenUpdate,
    TestResult,
    TestSuite,
    Trajectory,
    Verdict,
    WeightSnapshot,
    WeightVersion,
)
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines

SIGMA = math.log(8.0) / 2.326
TICK_S = 0.01
BUCKETS = 4
"""Calls of a push between its start and its commit."""
REFERENCE = """import sys

def solve(rows, limit):
    best = 0
    for row in rows:
        if sum(row) > limit:
            continue
        left, right = 0, len(row) - 1
        while left < right:
            width = right - left
            best = max(best, width * min(row[left], row[right]))
            if row[left] < row[right]:
                left += 1
            else:
                right -= 1
    return best

def main():
    data = sys.stdin.read().split("\\n")
    limit = int(data[0])
    rows = [list(map(int, line.split())) for line in data[1:] if line.strip()]
    print(solve(rows, limit))

main()
"""
_LINES = len(REFERENCE.splitlines())
_STRUCTURE = LineStructure(
    code_lines=frozenset(n for n in range(1, _LINES + 1) if REFERENCE.splitlines()[n - 1].strip()),
    follows=tuple((n,) for n in range(1, _LINES + 1)),
    comment_lines=frozenset(),
)
_SHARES = {
    Outcome.PASSED: 0.08,
    Outcome.WRONG_ANSWER: 0.42,
    Outcome.RUNTIME_ERROR: 0.43,
    Outcome.COMPILE_ERROR: 0.05,
    Outcome.TIMEOUT: 0.02,
}
"""Of an early policy."""


class Ticks:
    """Waits that end together, every `TICK_S`: one timer for many, as a real process has them."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    def after(self, seconds: float) -> asyncio.Future[None]:
        """Return what is done in so many seconds, or up to a tick later."""
        loop = asyncio.get_running_loop()
        tick = math.ceil((loop.time() + seconds) / TICK_S)
        if tick not in self._waiting:
            self._waiting[tick] = []
            loop.call_at(tick * TICK_S, self._end, tick)
        waiting = loop.create_future()
        self._waiting[tick].append(waiting)
        return waiting

    def _end(self, tick: int) -> None:
        for waiting in self._waiting.pop(tick):
            if not waiting.done():
                waiting.set_result(None)


@dataclass(frozen=True, slots=True)
class Load:
    """How long the parts take, in seconds: means."""

    sample_s: float
    judge_s: float
    step_s: float
    ticks: Ticks = field(default_factory=Ticks)
    """Of all parts in one process."""


class Times:
    """Log-normal seconds by seed, from a table that is drawn once."""

    def __init__(self, mean_s: float) -> None:
        median = mean_s / math.exp(SIGMA**2 / 2)
        drawn = np.random.default_rng(11).lognormal(math.log(median), SIGMA, 4096)
        self._seconds = (drawn * (mean_s / drawn.mean())).tolist()

    def of(self, seed: int) -> float:
        return float(self._seconds[seed % 4096])


@cache
def _written_after(given: int) -> tuple[str, Any, Any, Any, Program, Any]:
    """Return what every engine writes: text, ids int32 [T], spans int32 [T, 2], log-probs, the
    program, and the lines of its tokens int32 [T]."""
    text = (REFERENCE + "```")[given:]
    spans = [match.span() for match in re.finditer(r"\s*(?:\w{1,5}|[^\w\s])", text)]
    spans.append((len(text), len(text)))
    ids = np.arange(len(spans), dtype=np.int32)
    of_chars = np.array(spans, dtype=np.int32)
    program = assemble(REFERENCE[:given], text)
    lines = token_lines(program, text, of_chars, ended=True)
    return text, ids, of_chars, np.full(len(ids), -0.7, dtype=np.float32), program, lines


class Engine:
    """A rollout actor that decodes everything it is given together."""

    def __init__(self, name: str, load: Load) -> None:
        self._name = name
        self._ticks = load.ticks
        self._times = Times(load.sample_s)
        self._version: WeightVersion = 0

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[list[Completion]]:
        oldest, gone = self._version, 0.0
        taking = ((self._times.of(request.ticket.seed), request) for request in share)
        for seconds, request in sorted(taking, key=lambda each: each[0]):
            await self._ticks.after(seconds - gone)
            gone = seconds
            text, ids, spans, logprobs, program, lines = _written_after(len(request.given))
            completion = Completion(
                sample_id=request.ticket.sample_id,
                text=text,
                token_ids=ids,
                char_spans=spans,
                logprobs=logprobs,
                program=program,
                token_lines=lines,
                ended=True,
                oldest_weights=oldest,
                newest_weights=self._version,
                actor=self._name,
                seconds=seconds,
            )
            yield [completion]

    async def start_update(self, version: WeightVersion) -> None:
        """Take nothing: weights are swapped between two steps."""

    async def load_bucket(self, bucket: Any) -> None:
        """Load nothing."""

    async def finish_update(self, version: WeightVersion, buckets: int) -> TakenUpdate:
        del buckets
        self._version = version
        return TakenUpdate(actor=self._name, paused_s=0.0)

    async def abort_update(self, version: WeightVersion) -> None:
        """Nothing is open."""

    async def stats(self) -> None:
        """Answer: the process is up."""

    async def until_the_end(self) -> None:
        await asyncio.Event().wait()

    async def wait_until_complete(self) -> WeightVersion:
        return self._version

    async def close(self) -> None:
        """Nothing to release."""


class Executor:
    """An executor that has as many containers as it is asked for."""

    def __init__(self, name: str, load: Load) -> None:
        self._name = name
        self._ticks = load.ticks
        self._times = Times(load.judge_s)
        self._verdicts = [replace(verdict, executor=name) for verdict in _verdicts()]
        self._judged = 0

    async def choose(self) -> NodeBackend:
        return NodeBackend(node="simulated", backend="process")

    async def start(self, backend: str) -> None:
        """Nothing to start."""

    async def judge(self, source: str, tests: TestSuite, problem_id: str) -> Verdict:
        del source, tests, problem_id
        self._judged += 1
        seed = self._judged * 2654435761
        await self._ticks.after(self._times.of(seed))
        return self._verdicts[(seed >> 12) % len(self._verdicts)]

    async def stats(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        """Nothing to release."""


def _verdicts() -> Iterator[Verdict]:
    """Yield a hundred verdicts with the outcomes of an early policy, three tests each."""
    for outcome, share in _SHARES.items():
        compiled = outcome is not Outcome.COMPILE_ERROR
        ran = frozenset(range(1, _LINES + 1)) - {11, 14}
        test = TestResult(outcome=outcome, executed_lines=ran, cpu_ms=5.0)
        for _ in range(round(share * 100)):
            yield Verdict(
                outcome=outcome,
                tests=(test,) * 3 if compiled else (),
                structure=_STRUCTURE if compiled else None,
                coverage_trusted=True,
                wall_ms=20.0,
            )


class Learner(StandinLearner):
    """A learner whose step is a wait, with the real deliveries."""

    def __init__(self, load: Load, bucket: Any, ended: Callable[[int], None]) -> None:
        """`ended` is called with the samples of every step."""
        super().__init__()
        self._load = load
        self._bucket = bucket
        self._ended = ended
        self._version: WeightVersion = 0

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        await asyncio.sleep(self._load.step_s)
        self._version += 1
        self._ended(len(batch))
        return StepReport(version=self._version, skipped=False)

    async def snapshot(self) -> WeightSnapshot:
        buckets = (self._bucket,) * BUCKETS
        return WeightSnapshot(version=self._version, buckets=buckets, probe_logprobs=())


def problems(number: int) -> list[Problem]:
    """Return problems with one reference and statements of a usual length."""
    tests = TestSuite(inputs=("10\n1 2 3\n",) * 3, outputs=("4\n",) * 3)
    return [
        Problem(
            problem_id=f"simulated/{index}",
            statement=f"Problem {index}. " + "Print the largest area that two bars hold. " * 12,
            reference=REFERENCE,
            level="interview",
            tests=tests,
        )
        for index in range(number)
    ]
