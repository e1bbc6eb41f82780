"""How many mutants of the references the tests of a set notice, before and after augmentation.

    python benchmarks/augmentation_scores.py SET [SET …] [--tests 15] [--first 100] [--containers 2]

SET is what `stepcoder data inspect` takes: a file, an APPS folder, `ladder:train`. Prints a table
for each set, why problems were left as they are, and the seconds it took.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter

from rich.console import Console

from sandbox.backend import open_pool
from stepcoder_dist import problems
from stepcoder_dist.data.augment import augment
from stepcoder_dist.data.augment.scores import AugmentScores, figures, scores_table
from stepcoder_dist.host.console import Phase
from stepcoder_dist.host.even_choice import spread
from stepcoder_dist.ports import Sandbox
from stepcoder_dist.records import Problem


async def measure(spec: str, args: argparse.Namespace, console: Console) -> None:
    chosen = spread(list(problems.load(spec, max_bad_share=1.0)))[: args.first]
    scores, started = AugmentScores(), time.monotonic()
    at_once = asyncio.Semaphore(2 * args.containers)
    failing: list[str] = []
    programs: Counter[str] = Counter()

    async def one(problem: Problem, pool: Sandbox, phase: Phase) -> None:
        async with at_once:
            found = await augment(problem, pool, args.tests, args.seed)
        scores.add(problem.level, figures(found))
        if found.why.startswith("the reference fails"):
            failing.append(problem.problem_id)
        phase.advance(f"{scores.by_level()[-1].added} tests added")

    async with open_pool(containers=args.containers, backend=args.backend) as pool:
        with Phase(console, spec.rpartition("/")[2], len(chosen)) as phase:
            await asyncio.gather(*(one(problem, pool, phase) for problem in chosen))
        programs["verdicts"] = pool.stats.verdicts
    console.print(scores_table(scores.by_level()))
    console.print(f"not tried: {dict(scores.reasons)}; failing references: {failing}")
    seconds = time.monotonic() - started
    console.print(f"{programs['verdicts']} programs judged in {seconds:.0f} s\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--tests", type=int, default=15)
    parser.add_argument("--first", type=int, default=1_000_000)
    parser.add_argument("--containers", type=int, default=2)
    parser.add_argument("--backend", default="docker", choices=("docker", "process"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for spec in args.sets:
        asyncio.run(measure(spec, args, Console(width=120)))


if __name__ == "__main__":
    main()
