"""What the learner makes of a machine: samples a second of a step, over bare passes of its tokens.

    python benchmarks/learner_throughput.py [--model tiny|135m] [--groups 8 16] [--lengths 2:1 1:2]
        [--dtype float32] [--samples 32] [--rounds 5] [--threads 2] [--tokens 8192]
        [--steps NAME …] [--products onednn|torch] [--wall] [--trl PYTHON]

The bare passes are Hugging Face's own model: forward with its loss and backward, 8 samples at a
time, every sample with its prompt, no optimizer, no reference, nothing else: the least that a
trainer costs that shares no prompts. For PPO they are those of two networks.

A step of ours is `PpoStep.run` on a DeepSpeed engine: GRPO with beta = 0 (one pass), GRPO with the
KL as a loss (policy and reference), PPO with critic, reference and GAE. Epochs and minibatches: 1.
Weights and token ids are random. All samples of a row of the table have the same lengths, so that
the bare passes have no padding. In every round each is timed once, one after the other, so that
whatever else the machine does meets all alike; the medians' ratios are shown. With --trl, the
Python of a venv that has TRL (end_to_end.py says how to make one), the training part of TRL's GRPO
with beta = 0 is timed on random tokens of the same lengths, in a process of its own after each row,
on the folder of this model (deploy/models/ladder-sft, or what `make model` makes).

What counts is the processor time of this process, all its threads together, or wall-clock time with
--wall: on a machine that others keep busy each of many short calls waits for its second thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# as of a rank's process (decision 0025); read when torch is loaded
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from learner.batches import packed_attention
from learner.batches.balance import Work
from learner.kernels import products
from learner.policy_critic import Critic, Policy
from learner.ppo_step import PpoStep
from learner.zero import zero_engine
from learner.zero.zero_engine import ZeroEngine
from stepcoder_dist.config import RunConfig
from stepcoder_dist.records import Outcome, Ticket, Trajectory

BARE_SAMPLES = 8
MODELS: dict[str, tuple[Any, int]] = {
    "tiny": (
        Qwen2Config(
            vocab_size=384,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            tie_word_embeddings=True,
        ),
        60,
    ),
    "135m": (
        LlamaConfig(
            vocab_size=49_152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        ),
        110,
    ),
}
"""The demo's model, and SmolLM2-135M's shape; and the tokens of the shorter part of a sample."""
LENGTHS = ("2:1", "1:2")
"""Prompt to completion."""
ROOT = Path(__file__).parents[1]
GROUP = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
FOLDERS = {"tiny": "deploy/models/ladder-sft", "135m": "models/SmolLM2-135M-Instruct"}
STEPS: dict[str, dict[str, Any]] = {
    "GRPO, beta 0": {"advantage": "grpo", "kl_beta": 0.0},
    "GRPO": {"advantage": "grpo", "kl_beta": 0.05},
    "PPO": {"advantage": "gae", "kl_beta": 0.05},
}


def run_config(given: argparse.Namespace, learner: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "throughput",
            "model": {"path": "unused", "dtype": given.dtype, "max_tokens": 2048},
            "problems": {"train": "unused", "heldout": "unused"},
            "sampling": {"samples_per_problem": 8, "max_new_tokens": 1024},
            "learner": {
                "samples_per_step": given.samples,
                "minibatch_samples": given.samples,
                "microbatch_tokens": given.tokens,
                "zero_stage": 0,
                "cpu_products": given.products,
                **learner,
            },
        }
    )


def batch_of(samples: int, group: int, prompt: int, completion: int, ids: int) -> list[Trajectory]:
    random = np.random.default_rng(0)
    batch = []
    given = np.zeros(0, dtype=np.int32)
    for index in range(samples):
        if index % group == 0:
            given = random.integers(2, ids, prompt).astype(np.int32)
        name = f"g{index // group}"
        batch.append(
            Trajectory(
                ticket=Ticket(
                    sample_id=f"{name}-{index}",
                    group=name,
                    problem_id="p",
                    stage=0,
                    seed=index,
                    planned_step=1,
                ),
                level="introductory",
                prompt_ids=given,
                completion_ids=random.integers(2, ids, completion).astype(np.int32),
                rollout_logprobs=np.full(completion, -5.0, dtype=np.float32),
                keep=np.ones(completion, dtype=np.bool_),
                reward=1.0 if index % 2 else -0.3,
                outcome=Outcome.WRONG_ANSWER,
                temperature=1.0,
                oldest_weights=0,
                newest_weights=0,
            )
        )
    return batch


def causal_lm(given: argparse.Namespace) -> Any:
    description, _ = MODELS[given.model]
    torch.manual_seed(0)
    dtype = getattr(torch, given.dtype)
    return AutoModelForCausalLM.from_config(description, dtype=dtype).train()


def bare(model: Any, batch: list[Trajectory]) -> None:
    for start in range(0, len(batch), BARE_SAMPLES):
        part = batch[start : start + BARE_SAMPLES]
        ids = np.stack([np.concatenate([t.prompt_ids, t.completion_ids]) for t in part])
        input_ids = torch.from_numpy(ids.astype(np.int64))
        labels = input_ids.clone()
        labels[:, : len(part[0].prompt_ids)] = -100
        model(input_ids=input_ids, labels=labels, use_cache=False).loss.backward()
    model.zero_grad()


def step_of(given: argparse.Namespace, name: str) -> Callable[[list[Trajectory]], object]:
    config = run_config(given, STEPS[name])
    learner = config.learner

    def packing(network: Any) -> Any:
        packed_attention.install(network, name, key="learner.packing")
        return network

    def multiplying(module: Any) -> Any:
        if learner.cpu_products == "onednn":
            products.install(module, torch.device("cpu"))
        return module

    def engine(module: Any) -> ZeroEngine:
        multiplying(module)
        return ZeroEngine(module, learner, config.model, weight_decay=0.0)

    model = packing(causal_lm(given))
    critic = None
    if learner.has_critic:
        backbone = packing(causal_lm(given).base_model)
        head = Critic(backbone, backbone.config.hidden_size)
        critic = engine(head.to(getattr(torch, given.dtype)))
    reference = None
    if learner.has_reference:
        reference = multiplying(Policy(packing(causal_lm(given)))).eval()
    step = PpoStep(
        learner,
        policy=engine(Policy(model)),
        critic=critic,
        reference=reference,
        rank=0,
        seed=0,
        device=torch.device("cpu"),
        work=Work.of(model.config),
    )
    return lambda batch: step.run(batch, 0)


def trl_seconds(given: argparse.Namespace, group: int, lengths: tuple[int, int]) -> float:
    """Return the median seconds of the training part of a step of TRL's GRPO."""
    folder = ROOT / FOLDERS[given.model]
    # it is no rank of this process's group
    alone = {name: value for name, value in os.environ.items() if not name.endswith(GROUP)}
    with tempfile.TemporaryDirectory() as out:
        settings = {
            "model": str(folder),
            "rows": [{"prompt": "a"}] * given.samples,
            "lengths": lengths,
            "vocabulary": json.loads((folder / "config.json").read_text())["vocab_size"],
            "dtype": given.dtype,
            "threads": given.threads,
            "samples": given.samples,
            "updates": 1,
            "epochs": 1,
            "group": group,
            "max_new_tokens": lengths[1],
            "beta": 0.0,
            "learning_rate": 1e-6,
            "steps": given.rounds + 1,
            "seed": 0,
            "out": out,
        }
        file = Path(out, "settings.json")
        file.write_text(json.dumps(settings))
        done = subprocess.run(
            [given.trl, str(Path(__file__).with_name("trl_grpo.py")), str(file)],
            capture_output=True,
            text=True,
            check=False,
            env=alone | {"OMP_NUM_THREADS": str(given.threads), "HF_HUB_OFFLINE": "1"},
        )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [
        json.loads(line.removeprefix("STEP "))
        for line in done.stdout.splitlines()
        if line.startswith("STEP ")
    ]
    clock = "training_wall_s" if given.wall else "training_processor_s"
    return statistics.median(step[clock] for step in steps[1:])


def medians(
    given: argparse.Namespace,
    model: Any,
    steps: dict[str, Callable[[list[Trajectory]], object]],
    batch: list[Trajectory],
) -> dict[str, float]:
    """Return the median seconds of the bare passes and of each step."""
    clock = time.perf_counter if given.wall else time.process_time
    timed: dict[str, list[float]] = {name: [] for name in ("bare", *steps)}
    for turn in range(given.rounds + 1):
        for name, seconds in timed.items():
            began = clock()
            if name == "bare":
                bare(model, batch)
            else:
                steps[name](batch)
            if turn:  # the first warms
                seconds.append(clock() - began)
    return {name: statistics.median(seconds) for name, seconds in timed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--groups", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--lengths", choices=LENGTHS, nargs="+", default=LENGTHS)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--products", choices=("onednn", "torch"), default="onednn")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--trl", metavar="PYTHON")
    given = parser.parse_args()
    store, _ = zero_engine.open_store("127.0.0.1", 1)
    zero_engine.join(store, 0, 1, threads=given.threads)
    model = causal_lm(given)
    steps = {name: step_of(given, name) for name in given.steps}
    table = Table(title=f"{given.model}, {given.dtype}, {given.samples} samples a step")
    for column in (
        "prompt + completion",
        "group",
        "bare samples/s" if given.wall else "bare samples a processor second",
    ):
        table.add_column(column, justify="right")
    for name in given.steps:
        table.add_column(f"{name} / bare", justify="right")
    if given.trl:
        table.add_column("TRL / bare", justify="right")
    short = MODELS[given.model][1]
    for lengths in given.lengths:
        prompt, completion = (short * int(part) for part in lengths.split(":"))
        for group in given.groups:
            vocabulary = model.config.vocab_size
            batch = batch_of(given.samples, group, prompt, completion, vocabulary)
            median = medians(given, model, steps, batch)
            ratios = [median["bare"] * (2 if name == "PPO" else 1) / median[name] for name in steps]
            if given.trl:
                ratios.append(median["bare"] / trl_seconds(given, group, (prompt, completion)))
            table.add_row(
                f"{prompt} + {completion}",
                str(group),
                f"{given.samples / median['bare']:.1f}",
                *(f"{ratio:.2f}" for ratio in ratios),
            )
    Console().print(table)
    zero_engine.leave()


if __name__ == "__main__":
    main()
