"""Tokens a second through a rollout actor, over vLLM's own `generate` of the same samples.

    python benchmarks/rollout_overhead.py [--model tiny|135m] [--rounds 7] [--threads 2]
        [--dtype float32|bfloat16] [--problems 16] [--samples 8]

Both sides are Ray actors with an engine of the same arguments, the same threads, prompts (`ladder`
problems) and seeds, one request a sample, log-probs of the sampled tokens. In every round each has
its turn, one after the other, while the other rests; medians are shown. Besides wall-clock time the
processor time of the two processes counts, which other work on the machine disturbs less.

    bare             `LLM.generate`; the tokens are counted
    actor            what a run uses: an `ActorPool` of one rollout actor; here arrive completions
                     with text and character spans
    bare, no seeds   `LLM.generate` with one request a prompt (`n`) and no seeds, which is faster in
                     vLLM, and which no run can repeat

`tiny` is the demo's model, `135m` the folder of `make model`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray
from rich.console import Console
from rich.table import Table

from actors.actor_pool import ActorPool
from actors.rollout_actor import environment
from stepcoder_dist import problems
from stepcoder_dist.config import RunConfig
from stepcoder_dist.records import RolloutRequest, Ticket
from stepcoder_dist.run.preflight import prompt_writer
from stepcoder_dist.run.run_file import load
from stepcoder_dist.text.tokenization import load_tokenizer

ROOT = Path(__file__).parents[1]
RUN_FILES = {"tiny": "demo.toml", "135m": "smollm2_mbpp.toml"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Turn:
    tokens: int
    wall_s: float
    processor_s: float


class Bare:
    """vLLM's own way: `LLM.generate` in a process of its own."""

    def __init__(self, checkpoint: str, config: RunConfig) -> None:
        os.environ.update(environment(config))
        from vllm import LLM

        from actors.engine import engine_arguments

        self._llm = LLM(**engine_arguments(Path(checkpoint), config))

    def pid(self) -> int:
        return os.getpid()

    def generate_unseeded(self, requests: list[RolloutRequest], eos: list[int], n: int) -> int:
        """Sample each prompt n times in one request; return the number of tokens."""
        from actors.translation import sampling_params

        firsts = requests[::n]
        prompts = [{"prompt_token_ids": r.prompt_ids.tolist()} for r in firsts]
        params = [sampling_params(r, eos) for r in firsts]
        for each in params:
            each.seed, each.n = None, n
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return sum(len(one.token_ids) for each in outputs for one in each.outputs)

    def generate(self, requests: list[RolloutRequest], eos: list[int]) -> list[list[int]]:
        from actors.translation import sampling_params

        prompts = [{"prompt_token_ids": r.prompt_ids.tolist()} for r in requests]
        params = [sampling_params(r, eos) for r in requests]
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [list(each.outputs[0].token_ids) for each in outputs]


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def requests_of(
    given: argparse.Namespace, config: RunConfig, checkpoint: str
) -> Callable[[int], list[RolloutRequest]]:
    """Return a function that makes the requests of a round, each round with other seeds."""
    writer = prompt_writer(config, checkpoint)
    asked = problems.load("ladder:train?conditionals=1-3&kinds=if,if-else&calls=0")
    prompts = [writer.encode(p, None)[0] for p in list(asked)[: given.problems]]

    def make(turn: int) -> list[RolloutRequest]:
        return [
            RolloutRequest(
                ticket=Ticket(
                    sample_id=f"{turn}-{i}-{j}",
                    group=f"{turn}-{i}",
                    problem_id=f"p{i}",
                    stage=0,
                    seed=(turn * 1000 + i) * 100 + j,
                    planned_step=turn,
                ),
                prompt_ids=np.asarray(prompt, dtype=np.int32),
                given="",
                temperature=1.0,
                top_p=1.0,
                max_new_tokens=config.sampling.max_new_tokens,
            )
            for i, prompt in enumerate(prompts)
            for j in range(given.samples)
        ]

    return make


async def measure(given: argparse.Namespace) -> dict[str, list[Turn]]:
    changes = [f"model.dtype={given.dtype}", f"actors.threads={given.threads}", "actors.number=1"]
    config = load(ROOT / "deploy" / "runs" / RUN_FILES[given.model], changes)
    checkpoint = str((ROOT / (config.model.path or config.model.sft_path)).resolve())
    make = requests_of(given, config, checkpoint)
    eos = sorted(load_tokenizer(checkpoint).eos_ids)
    bare = ray.remote(num_cpus=0)(Bare).remote(checkpoint, config)
    bare_pid = ray.get(bare.pid.remote())
    pool = ActorPool(config, checkpoint)
    await pool.start()
    (stats,) = await pool.stats()
    turns: dict[str, list[Turn]] = {"bare": [], "actor": [], "bare, no seeds": []}
    same = total = 0
    for turn in range(given.rounds + 2):  # the first two warm
        requests = make(turn)
        sampled: dict[str, dict[str, list[int]]] = {}
        for side, pid in zip(turns, (bare_pid, stats.pid, bare_pid), strict=True):
            before, began = processor_s(pid), time.perf_counter()
            if side == "bare":
                ids = await bare.generate.remote(requests, eos)
                sampled[side] = {
                    r.ticket.sample_id: each for r, each in zip(requests, ids, strict=True)
                }
                tokens = sum(map(len, ids))
            elif side == "actor":
                sampled[side] = await through_pool(pool, requests)
                tokens = sum(map(len, sampled[side].values()))
            else:
                tokens = await bare.generate_unseeded.remote(requests, eos, given.samples)
            took, used = time.perf_counter() - began, processor_s(pid) - before
            if turn > 1:
                turns[side].append(Turn(tokens, took, used))
        same += sum(sampled["bare"][name] == sampled["actor"][name] for name in sampled["bare"])
        total += len(requests)
    await pool.close()
    print(f"{same} of {total} samples are the same tokens on both sides")
    return turns


async def through_pool(pool: ActorPool, requests: Sequence[RolloutRequest]) -> dict[str, list[int]]:
    return {c.sample_id: c.token_ids.tolist() async for c in pool.sample(requests)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", choices=RUN_FILES, default="tiny")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8)
    given = parser.parse_args()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=True)
    try:
        turns = asyncio.run(measure(given))
    finally:
        ray.shutdown()
    table = Table(
        title=f"{given.model}, {given.dtype}, {given.problems} × {given.samples} samples, "
        f"{given.threads} threads, median of {given.rounds}"
    )
    for column in ("", "tokens/s", "over bare", "tokens a processor second", "over bare"):
        table.add_column(column, justify="right")
    rates = {
        side: [
            statistics.median(t.tokens / getattr(t, clock) for t in each)
            for clock in ("wall_s", "processor_s")
        ]
        for side, each in turns.items()
    }
    for side, found in rates.items():
        cells = [
            text
            for rate, bare in zip(found, rates["bare"], strict=True)
            for text in (f"{rate:,.0f}", f"{rate / bare:.2f}")
        ]
        table.add_row(side, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
