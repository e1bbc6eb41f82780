"""How fast the sandbox judges what an early policy writes: most of it fails.

    python benchmarks/sandbox_samples.py [SET] [--programs 300] [--containers 2] [--backend docker]

SET is what `stepcoder data inspect` takes. Programs are made from its references: passing ones are
the references, wrong answers, exceptions and endless loops are mutants
(`stepcoder_dist/data/augment/mutants.py`), some with a name that is not defined, and the rest is
cut off in the middle so that it does not compile. What a program is, its verdict says.

Every kind, and the mix of an early policy, is judged by the pool as it is and with a fresh process
for each test, in turn. Prints programs per second, and checks that outcomes and executed lines of
every test are equal. The loops of the mix take most of its time, so it is shown without them too.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import random
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sandbox import judging
from sandbox.backend import open_pool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist import problems
from stepcoder_dist.data.augment.mutants import mutants
from stepcoder_dist.host.even_choice import spread
from stepcoder_dist.records import Outcome, Problem, TestSuite, Verdict

MIX = {
    Outcome.PASSED: 0.08,
    Outcome.WRONG_ANSWER: 0.40,
    Outcome.RUNTIME_ERROR: 0.45,
    Outcome.COMPILE_ERROR: 0.05,
    Outcome.TIMEOUT: 0.02,
}
MUTANTS = 6
TOGETHER = judging.TESTS_PER_CHILD


@dataclass(frozen=True, slots=True)
class Sample:
    source: str
    tests: TestSuite
    problem_id: str


@dataclass(frozen=True, slots=True)
class Judged:
    verdicts: list[Verdict]
    seconds: float
    latencies: list[float]


def candidates(problem: Problem, rng: random.Random) -> list[str]:
    """The reference, its mutants, and what a policy gets wrong before its answers are wrong."""
    reference = problem.reference
    made = [reference, *mutants(reference, MUTANTS, rng.randrange(2**31))]
    names = [n for n in ast.walk(ast.parse(reference)) if isinstance(n, ast.Name)]
    loaded = sorted({name.id for name in names if isinstance(name.ctx, ast.Load)})
    if loaded:
        tree = ast.parse(reference)
        unknown = rng.choice(loaded)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == unknown:
                node.id = f"{unknown}_" if isinstance(node.ctx, ast.Load) else unknown
        made.append(ast.unparse(tree))
    return [*made, f"{reference[: len(reference) // 2]} (\n"]


async def judge_all(pool: WorkerPool, samples: list[Sample], at_once: int) -> Judged:
    gate = asyncio.Semaphore(at_once)
    latencies: list[float] = []

    async def one(sample: Sample) -> Verdict:
        async with gate:
            began = time.perf_counter()
            verdict = await pool.judge(sample.source, sample.tests, problem_id=sample.problem_id)
            latencies.append(time.perf_counter() - began)
            return verdict

    began = time.perf_counter()
    verdicts = await asyncio.gather(*map(one, samples))
    return Judged(verdicts, time.perf_counter() - began, latencies)


async def by_kind(
    pool: WorkerPool, spec: str, args: argparse.Namespace
) -> dict[Outcome, list[Sample]]:
    """Programs of each kind of the mix, as many as it takes."""
    rng = random.Random(args.seed)
    kinds: dict[Outcome, list[Sample]] = defaultdict(list)
    wanted = {kind: max(2, round(share * args.programs)) for kind, share in MIX.items()}
    for problem in spread(list(problems.load(spec, max_bad_share=1.0))):
        if not problem.reference or problem.tests.test_code:
            continue
        samples = [
            Sample(source, problem.tests, problem.problem_id) for source in candidates(problem, rng)
        ]
        judged = await judge_all(pool, samples, args.containers)
        for sample, verdict in zip(samples, judged.verdicts, strict=True):
            if verdict.outcome in wanted and len(kinds[verdict.outcome]) < wanted[verdict.outcome]:
                kinds[verdict.outcome].append(sample)
        if all(len(kinds[kind]) >= count for kind, count in wanted.items()):
            break
    return kinds


def seen(verdict: Verdict) -> list[object]:
    """What has to be equal in the two."""
    return [(test.outcome, sorted(test.executed_lines)) for test in verdict.tests]


async def both(pool: WorkerPool, samples: list[Sample], args: argparse.Namespace) -> list[Judged]:
    """Judge as the pool does, and with a process for each test; in turn, `--rounds` times."""
    total: list[list[Judged]] = [[], []]
    for _ in range(args.rounds):
        for way, tests_per_child in enumerate((TOGETHER, 1)):
            judging.TESTS_PER_CHILD = tests_per_child
            total[way].append(await judge_all(pool, samples, args.containers))
    judging.TESTS_PER_CHILD = TOGETHER
    return [
        Judged(
            rounds[0].verdicts,
            sum(r.seconds for r in rounds) / len(rounds),
            [latency for r in rounds for latency in r.latencies],
        )
        for rounds in total
    ]


async def measure(args: argparse.Namespace, console: Console) -> None:
    async with open_pool(
        containers=args.containers, backend=args.backend, cpu_limit_s=args.cpu_limit
    ) as pool:
        kinds = await by_kind(pool, args.set, args)
        mixed = [sample for kind in MIX for sample in kinds[kind]]
        random.Random(args.seed).shuffle(mixed)
        loops = {id(sample) for sample in kinds[Outcome.TIMEOUT]}
        rows = {str(kind): kinds[kind] for kind in MIX if kinds[kind]}
        rows |= {
            "all that fail, without loops": [
                s for k in MIX if k not in (Outcome.PASSED, Outcome.TIMEOUT) for s in kinds[k]
            ],
            "the mix without loops": [s for s in mixed if id(s) not in loops],
            "the mix": mixed,
        }
        tests = statistics.mean(len(sample.tests) for sample in mixed)
        title = f"{args.set}: {tests:.1f} tests a program, {args.containers} containers"
        table = Table(title=title)
        for column in ("programs", "number", "per s", "p50 ms", "fresh: per s", "p50 ms", "ratio"):
            table.add_column(column, justify="left" if column == "programs" else "right")
        different = 0
        for name, samples in rows.items():
            ours, fresh = await both(pool, samples, args)
            pairs = zip(ours.verdicts, fresh.verdicts, strict=True)
            different += sum(seen(one) != seen(other) for one, other in pairs)
            rates = [len(samples) / way.seconds for way in (ours, fresh)]
            middle = [1e3 * statistics.median(way.latencies) for way in (ours, fresh)]
            table.add_row(
                name,
                str(len(samples)),
                f"{rates[0]:.1f}",
                f"{middle[0]:.1f}",
                f"{rates[1]:.1f}",
                f"{middle[1]:.1f}",
                f"{rates[0] / rates[1]:.1f}×",
            )
    console.print(table)
    console.print(f"verdicts or lines that differ between the two: {different}")
    if different:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", nargs="?", default="ladder:train?count=200")
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--containers", type=int, default=2)
    parser.add_argument("--backend", default="docker", choices=("docker", "process"))
    parser.add_argument("--cpu-limit", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(measure(parser.parse_args(), Console(width=120)))


if __name__ == "__main__":
    main()
