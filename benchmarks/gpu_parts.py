"""The parts of gpu_bringup.py, each a function that prints its figures as lines of JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from learner.batches import batching, packed_attention
from learner.kernels.token_logprobs import TokenLogProbs
from learner.policy_critic import Policy, load_policy, load_reference
from learner.ppo_step import PpoStep
from learner.push.weight_buckets import pack, plan_buckets
from learner.saving import checkpoint
from learner.zero import zero_engine
from learner.zero.zero_engine import ZeroEngine
from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import gpu_memory, model_shape, step_time
from stepcoder_dist.host.checksum import checksum
from stepcoder_dist.records import Outcome, Ticket, Trajectory

SHIPPED = Path(__file__).parents[1] / "deploy" / "models" / "ladder-sft"
PROMPT, COMPLETION = 500, 350
KEPT = 0.9
"""Share of tokens that carry loss."""
TINY = ModelShape(
    hidden_size=64, layers=2, heads=2, kv_heads=2, intermediate_size=128, vocabulary=300,
    tied_embeddings=False, attention_bias=False,
)  # fmt: skip
LLAMA_1B = ModelShape(
    hidden_size=2048, layers=24, heads=16, kv_heads=16, intermediate_size=5504, vocabulary=32_256,
    tied_embeddings=False, attention_bias=False,
)  # fmt: skip
"""As deepseek-coder-1.3b."""
LLAMA_7B = ModelShape(
    hidden_size=4096, layers=32, heads=32, kv_heads=32, intermediate_size=11_008,
    vocabulary=32_256, tied_embeddings=False, attention_bias=False,
)  # fmt: skip
"""As deepseek-coder-6.7b."""

GPU = torch.cuda.is_available()


def say(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def config(**learner: object) -> RunConfig:
    tree = {
        "name": "bringup",
        "model": {"path": "unused", "dtype": "bfloat16" if GPU else "float32", "max_tokens": 1024},
        "problems": {"train": "unused", "heldout": "unused"},
        "sampling": {"samples_per_problem": 4, "max_new_tokens": 512},
        "learner": {
            "samples_per_step": 8,
            "minibatch_samples": 8,
            "microbatch_tokens": 1024,
            "advantage": "grpo",
            "resources": {"num_gpus": 1.0 if GPU else 0.0},
            **learner,
        },
    }
    return RunConfig.model_validate(tree)


def join() -> torch.device:
    if torch.distributed.is_initialized():
        return torch.device("cuda" if GPU else "cpu")
    store, _ = zero_engine.open_store("127.0.0.1", 1)
    return zero_engine.join(store, 0, 1, threads=max(1, (os.cpu_count() or 2) - 1))


def samples(number: int, vocabulary: int, prompt: int, completion: int) -> list[Trajectory]:
    random = np.random.default_rng(0)

    def ids(tokens: int) -> np.ndarray:
        return random.integers(2, vocabulary, tokens).astype(np.int32)

    return [
        Trajectory(
            ticket=Ticket(
                sample_id=f"s000001-0000-{index:04d}",
                group=f"g{index // 4}",
                problem_id="p",
                stage=0,
                seed=index,
                planned_step=1,
            ),
            level="introductory",
            prompt_ids=ids(prompt),
            completion_ids=ids(completion),
            rollout_logprobs=np.full(completion, -5.0, dtype=np.float32),
            keep=random.random(completion) < KEPT,
            reward=float(random.choice([1.0, -0.3, -0.6, -1.0])),
            outcome=Outcome.WRONG_ANSWER,
            temperature=1.0,
            oldest_weights=0,
            newest_weights=0,
        )
        for index in range(number)
    ]


def random_policy(shape: ModelShape, device: torch.device, *, checkpointing: bool) -> Policy:
    """A policy of this shape with random weights, made on the device."""
    description = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=shape.tied_embeddings,
        dtype=torch.bfloat16 if GPU else torch.float32,
    )
    with device:
        model: Any = AutoModelForCausalLM.from_config(description, dtype=description.dtype)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Policy(model)


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    if GPU:
        torch.cuda.synchronize()
    began = time.perf_counter()

    def seconds() -> float:
        if GPU:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    yield seconds


def peak_flops() -> float | None:
    name = torch.cuda.get_device_name(0) if GPU else ""
    return next((s[0] * 1e12 for key, s in step_time.GPUS.items() if key in name), None)


# ---- the parts ----


def part_join(*, tiny: bool) -> None:
    """NCCL with one rank, an agreement, DeepSpeed's engine, without a compiler in reach."""
    del tiny
    while compiler := shutil.which("nvcc"):
        folders = os.environ["PATH"].split(":")
        os.environ["PATH"] = ":".join(f for f in folders if f != str(Path(compiler).parent))
    os.environ.pop("CUDA_HOME", None)
    with tempfile.TemporaryDirectory() as extensions:
        os.environ["TORCH_EXTENSIONS_DIR"] = extensions
        device = join()
        box = ["a word"]
        torch.distributed.broadcast_object_list(box, src=0)
        for stage in (0, 2, 3):
            run = config(zero_stage=stage)
            module = torch.nn.Linear(8, 8, device=device, dtype=getattr(torch, run.model.dtype))
            engine = ZeroEngine(module, run.learner, run.model, weight_decay=0.0)
            inputs = torch.ones(2, 8, device=device, dtype=module.weight.dtype)
            engine.backward(engine(input=inputs).float().sum(), last=True)
            say(part="join", stage=stage, norm=engine.step(1e-3), device=str(device))
        built = [path.name for path in Path(extensions).iterdir()]
        say(part="join", said=box[0], compiled=built, nvcc=shutil.which("nvcc"))


def part_parity(*, tiny: bool) -> None:
    """One step of the shipped tiny model: each stage, with checkpointing and without, against
    stage 0 on the CPU in float32."""
    del tiny
    device = join()
    figures: dict[tuple[int, bool], dict[str, float]] = {}
    for stage, checkpointing in ((0, False), (2, False), (3, False), (3, True)):
        run = config(zero_stage=stage, gradient_checkpointing=checkpointing, kl_beta=0.01)
        model = run.model
        policy = load_policy(str(SHIPPED), model, gradient_checkpointing=checkpointing)
        reference = load_reference(str(SHIPPED), model).to(device)
        for network in (policy, reference):
            packed_attention.install(network.causal_lm, str(SHIPPED), key="learner.packing")
        step = PpoStep(
            run.learner,
            policy=ZeroEngine(policy.to(device), run.learner, model, weight_decay=0.0),
            critic=None,
            reference=reference,
            rank=0,
            seed=0,
            device=device,
        )
        found = step.run(samples(8, 60, 40, 60), 1)
        found.pop("learner_tokens_per_s")
        figures[stage, checkpointing] = found
        say(part="parity", stage=stage, checkpointing=checkpointing, **found)
    plain = on_the_cpu() if GPU else figures[0, False]
    names = sorted(figures[0, False].keys() & plain.keys())
    worst = {name: max(abs(f[name] - plain[name]) for f in figures.values()) for name in names}
    say(part="parity", worst_differences=worst, dtype=config().model.dtype)


def on_the_cpu() -> dict[str, float]:
    """The figures of stage 0 of this part, from a process that sees no GPU."""
    done = subprocess.run(
        [sys.executable, __file__, "parity"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    first = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    figures: dict[str, float] = json.loads(first)
    return {k: v for k, v in figures.items() if k not in ("part", "stage", "checkpointing")}


def part_memory(*, tiny: bool) -> None:
    """What a rank holds and reaches, next to the estimate of `--dry-run`."""
    shape = TINY if tiny else LLAMA_7B
    device = join()
    for stage in (2, 3):
        run = config(zero_stage=stage, gradient_checkpointing=True)
        estimate = gpu_memory.rank_memory(run, shape)
        if GPU:
            torch.cuda.reset_peak_memory_stats()
        policy = random_policy(shape, device, checkpointing=True)
        engine = ZeroEngine(policy, run.learner, run.model, weight_decay=0.0)
        batch = samples(4, shape.vocabulary, PROMPT, COMPLETION)
        micro = batching.pack((0, 1, 2, 3), batch, 0).to(device)
        logprobs, _ = engine(**micro.policy_inputs())
        engine.backward(-logprobs.mean(), last=True)
        engine.step(1e-6)
        reached = torch.cuda.max_memory_allocated() if GPU else 0
        # without the reference, which the estimate counts
        frozen = model_shape.bytes_each(run) * model_shape.parameters(shape)
        say(
            part="memory",
            stage=stage,
            parameters=model_shape.parameters(shape),
            estimated_gib=(estimate.peak - frozen) / 2**30,
            reached_gib=reached / 2**30,
            reserved_gib=torch.cuda.max_memory_reserved() / 2**30 if GPU else 0,
        )
        del engine, policy, micro, logprobs
        if GPU:
            torch.cuda.empty_cache()


def part_speed(*, tiny: bool) -> None:
    """Tokens a second and share of the peak, by micro-batch, with and without checkpointing."""
    shape = TINY if tiny else LLAMA_1B
    device, peak = join(), peak_flops()
    for checkpointing in (False, True):
        policy = random_policy(shape, device, checkpointing=checkpointing)
        for rows in (2, 4) if tiny else (2, 4, 8, 16, 32):
            batch = samples(rows, shape.vocabulary, PROMPT, COMPLETION)
            micro = batching.pack(tuple(range(rows)), batch, 0).to(device)
            inputs = micro.policy_inputs()
            try:
                for trained in (True, False):
                    seconds = min(one_pass(policy, inputs, trained=trained) for _ in range(3))
                    tokens = rows * (PROMPT + COMPLETION)
                    units = 2 * (3 + checkpointing if trained else 1)
                    flops = tokens * units * model_shape.parameters(shape)
                    say(
                        part="speed",
                        rows=rows,
                        checkpointing=checkpointing,
                        trained=trained,
                        tokens_per_s=tokens / seconds,
                        mfu=None if peak is None else flops / seconds / peak,
                    )
            except torch.cuda.OutOfMemoryError:
                say(part="speed", rows=rows, checkpointing=checkpointing, out_of_memory=True)
                break
        del policy


def one_pass(policy: Policy, inputs: dict[str, Any], *, trained: bool) -> float:
    with timed() as seconds, torch.set_grad_enabled(trained):
        logprobs, _ = policy(**inputs)
        if trained:
            logprobs.mean().backward()
            policy.zero_grad(set_to_none=True)
        return seconds()


def part_logprobs(*, tiny: bool) -> None:
    """The output layer's log-probs and their gradients, by vocabulary."""
    rows, hidden = (64, 64) if tiny else (4096, 2048)
    device = torch.device("cuda" if GPU else "cpu")
    dtype = torch.bfloat16 if GPU else torch.float32
    for vocabulary in (300, 500) if tiny else (32_256, 151_936):
        head = torch.nn.Linear(hidden, vocabulary, bias=False, device=device, dtype=dtype)
        layer = TokenLogProbs(head)
        states = torch.randn(rows, hidden, device=device, dtype=dtype, requires_grad=True)
        tokens = torch.randint(0, vocabulary, (rows,), device=device)
        for _ in range(3):
            with timed() as seconds:
                logprobs, _ = layer(states, tokens, torch.ones(rows, device=device))
                logprobs.sum().backward()
                taken = seconds()
        say(part="logprobs", vocabulary=vocabulary, rows=rows, seconds=taken)


def part_transfer(*, tiny: bool) -> None:
    """What a push over the object store moves in a second: to the host, checked, from the host."""
    shape = TINY if tiny else LLAMA_1B
    device = torch.device("cuda" if GPU else "cpu")
    policy = random_policy(shape, device, checkpointing=False)
    buckets = plan_buckets(policy.causal_lm, 256 * 2**20)
    with timed() as seconds:
        packed = [pack(bucket, 1) for bucket in buckets]
        taken = seconds()
    size = sum(bucket.nbytes for bucket in packed)
    say(part="transfer", what="pack", gb_s=size / taken / 1e9, bytes=size)
    data = packed[0]
    with timed() as seconds:
        checksum(data.tensors)
        say(part="transfer", what="checksum", gb_s=data.nbytes / seconds() / 1e9)
    for pinned in (False, True) if GPU else (False,):
        host = torch.empty(data.nbytes, dtype=torch.uint8, pin_memory=pinned)
        there = host.to(device)
        with timed() as seconds:
            host.copy_(there)
            say(part="transfer", what="to host", pinned=pinned, gb_s=data.nbytes / seconds() / 1e9)
        with timed() as seconds:
            there.copy_(host)
            say(part="transfer", what="to gpu", pinned=pinned, gb_s=data.nbytes / seconds() / 1e9)


def part_offload(*, tiny: bool) -> None:
    """Torch's fused AdamW on the host: seconds of an update, by threads."""
    number = 10**6 if tiny else 1_346_000_000
    weights = torch.zeros(number, requires_grad=True)
    weights.grad = torch.ones(number)
    optimizer = torch.optim.AdamW([weights], lr=1e-6, fused=True)
    for threads in (1, 2) if tiny else (4, 16):
        torch.set_num_threads(threads)
        for _ in range(2):
            with timed() as seconds:
                optimizer.step()
                taken = seconds()
        say(part="offload", parameters=number, threads=threads, seconds=taken)


def part_checkpoint(*, tiny: bool) -> None:
    """Copy, write and load: bitwise, and how fast. The ranks stand still for the copy alone."""
    shape = TINY if tiny else LLAMA_1B
    device = join()
    run = config(zero_stage=2)
    policy = random_policy(shape, device, checkpointing=False)
    engine = ZeroEngine(policy, run.learner, run.model, weight_decay=0.0)
    before = [parameter.detach().clone() for parameter in policy.parameters()]
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "saved"
        with timed() as seconds:
            part = checkpoint.take(folder, {"policy": engine}, version=0, counters={}, copied=True)
            copied = seconds()
        with timed() as seconds:
            sums = part.write()
            taken = seconds()
        part.finish(run, [sums])
        size = sum(size for size, _ in sums.values())
        say(part="checkpoint", what="copy", gb_s=size / copied / 1e9, bytes=size)
        say(part="checkpoint", what="write", gb_s=size / taken / 1e9, bytes=size)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter.zero_()
        with timed() as seconds:
            engine.load(folder / "policy")
            say(part="checkpoint", what="load", gb_s=size / seconds() / 1e9)
    same = all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))
    say(part="checkpoint", bitwise=same)


PARTS = {
    name.removeprefix("part_"): part
    for name, part in list(globals().items())
    if name.startswith("part_")
}

if __name__ == "__main__":
    if not GPU:
        os.environ["DS_ACCELERATOR"] = "cpu"
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.parts:
        PARTS[name](tiny=arguments.tiny)
    zero_engine.leave()
