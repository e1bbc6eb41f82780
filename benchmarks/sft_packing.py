"""What packing gains the warm start: tokens a second of one update, packed over padded.

    python benchmarks/sft_packing.py [--problems FILE …] [--rounds 3] [--hidden 256] [--threads 1]

An update is 64 examples forward and backward, dealt and laid out as `stepcoder sft` does, padded
and packed in turn, so that whatever else the machine does meets both alike; the least time of the
rounds counts. Token ids are random: only lengths matter. The lengths are those of the ladder under
its own tokenizer and, for each problem file, of prompt and reference at 3.5 characters a token.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM

from learner.batches import balance, batching, packed_attention, packing
from learner.batches.balance import Budget, Work
from learner.batches.batching import MicroBatch
from learner.policy_critic import Policy
from stepcoder_dist.config import PromptConfig
from stepcoder_dist.problems import ladder, load
from stepcoder_dist.records import SftExample
from stepcoder_dist.text.program import PromptWriter
from stepcoder_dist.text.tokenization import load_tokenizer

BATCH = 64
MICROBATCH = 8
MAX_TOKENS = 1024
LADDER = "ladder:sft?conditionals=1-4&count=64&kinds=if,if-else&calls=0"
CHARACTERS_A_TOKEN = 3.5
VOCABULARY = 2048


def lengths_of(spec: str) -> list[tuple[int, int]]:
    """Prompt and completion tokens of the first examples that fit."""
    problems = [p for p in load(spec, max_bad_share=1.0) if p.reference.strip()]
    if spec.startswith(ladder.PREFIX):
        with tempfile.TemporaryDirectory() as folder:
            ladder.write_tokenizer(Path(folder))
            writer = PromptWriter(load_tokenizer(folder), PromptConfig(template="{statement}"))
        pairs = [(len(e.prompt_ids), len(e.completion_ids)) for e in map(writer.example, problems)]
    else:
        sizes = [(len(p.statement), len(p.reference)) for p in problems]
        pairs = [tuple(int(n / CHARACTERS_A_TOKEN) + 2 for n in size) for size in sizes]  # type: ignore[misc]
    return [pair for pair in pairs if sum(pair) <= MAX_TOKENS][:BATCH]


def examples_of(lengths: list[tuple[int, int]]) -> list[SftExample]:
    random = np.random.default_rng(0)

    def ids(count: int) -> np.ndarray:
        return random.integers(0, VOCABULARY, count).astype(np.int32)

    return [SftExample(prompt_ids=ids(p), completion_ids=ids(c)) for p, c in lengths]


def padded(batch: list[SftExample]) -> list[MicroBatch]:
    samples, lengths = tuple(range(len(batch))), batching.lengths(batch)
    (parts,) = batching.deal(samples, lengths, ranks=1, microbatch_samples=MICROBATCH)
    return [batching.pack(part, batch, 0) for part in parts]


def packed(batch: list[SftExample]) -> list[MicroBatch]:
    budget = Budget(tokens=MICROBATCH * MAX_TOKENS)
    (parts,) = balance.deal(tuple(range(len(batch))), batch, ranks=1, budget=budget, work=Work())
    return [packing.pack(part, batch, 0) for part in parts]


def update_s(policy: Policy, micros: list[MicroBatch]) -> float:
    began = time.perf_counter()
    for micro in micros:
        logprobs, _ = policy(**micro.policy_inputs())
        (-logprobs.sum()).backward()
    policy.zero_grad()
    return time.perf_counter() - began


def models(hidden: int) -> tuple[Policy, Policy]:
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=4,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
    )
    first, second = (Policy(Qwen2ForCausalLM(config)) for _ in range(2))
    packed_attention.install(second.causal_lm, "benchmark", key="sft.packing")
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--problems", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    policies = models(given.hidden)
    table = Table(title=f"{BATCH} examples an update, {MICROBATCH} a padded micro-batch")
    for column in ("lengths of", "tokens", "longest", "padding", "passes", "packed / padded"):
        table.add_column(column, justify="right")
    for spec in (LADDER, *given.problems):
        batch = examples_of(lengths_of(spec))
        layouts: tuple[Callable[[list[SftExample]], list[MicroBatch]], ...] = (padded, packed)
        micros = [layout(batch) for layout in layouts]
        best = [float("inf")] * 2
        for turn in range(given.rounds + 1):
            for which, policy in enumerate(policies):
                seconds = update_s(policy, micros[which])
                best[which] = min(best[which], seconds) if turn else best[which]  # the first warms
        lengths = batching.lengths(batch)
        columns = sum(micro.input_ids.numel() for micro in micros[0])
        table.add_row(
            spec.split("?")[0].rpartition("/")[2],
            f"{sum(lengths):,}",
            str(max(lengths)),
            f"{1 - sum(lengths) / columns:.0%}",
            f"{len(micros[0])} -> {len(micros[1])}",
            f"{best[0] / best[1]:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
