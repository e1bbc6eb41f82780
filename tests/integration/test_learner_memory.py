"""The memory estimate of a learner rank against the tensors that DeepSpeed really holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("deepspeed")

from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import gpu_memory, model_shape

pytestmark = [pytest.mark.deepspeed]

SHAPE = ModelShape(
    hidden_size=256,
    layers=4,
    heads=4,
    kv_heads=2,
    intermediate_size=768,
    vocabulary=2048,
    tied_embeddings=True,
    attention_bias=True,
)
CASES = [(0, "bfloat16"), (1, "float32"), (2, "float32"), (2, "bfloat16"), (3, "bfloat16")]
"""ZeRO stage and dtype."""

ONE_UPDATE_EACH = """
import gc, json, os, sys
import numpy as np, torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from learner import policy_critic
from learner.batches import batching
from learner.zero import zero_engine
from stepcoder_dist.config import LearnerConfig, ModelConfig
from stepcoder_dist.records import SftExample

zero_engine._deepspeed()

def held():
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter):
            for tensor in (thing, thing.grad if thing.is_leaf else None):
                if tensor is not None:
                    storage = tensor.untyped_storage()
                    found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())

def one_update(stage, dtype, folder):
    config = Qwen2Config(vocab_size=2048, hidden_size=256, intermediate_size=768,
                         num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                         tie_word_embeddings=True)
    Qwen2ForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    zero_engine.join(zero_engine.open_store("127.0.0.1", 1)[0], 0, 1, threads=1)
    learner = LearnerConfig(zero_stage=stage)
    model = ModelConfig(path=folder, dtype=dtype)
    before = held()
    policy = zero_engine.ZeroEngine(
        policy_critic.load_policy(folder, model), learner, model, weight_decay=0.0
    )
    ids = np.arange(20, dtype=np.int32)
    micro = batching.pack((0,), [SftExample(prompt_ids=ids[:5], completion_ids=ids[5:])], 0)
    figures = {}
    for last in (True, False):
        logprobs, _ = policy(**micro.policy_inputs())
        policy.backward(-logprobs.sum(), last=last)
        if last:
            policy.step(1e-4)
            figures["stays"] = held() - before
        else:
            figures["with_gradients"] = held() - before
    return figures

for number, (stage, dtype) in enumerate(json.loads(sys.argv[1])):
    # a process of its own for each, forked where everything is imported and nothing was computed
    if os.fork() == 0:
        figures = one_update(stage, dtype, f"{sys.argv[2]}/{number}")
        print(f"FIGURES {json.dumps(figures)}", flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, (stage, dtype)
"""


@pytest.fixture(scope="module")
def held_by_case(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], Any]:
    done = subprocess.run(
        [sys.executable, "-c", ONE_UPDATE_EACH, json.dumps(CASES), tmp_path_factory.mktemp("held")],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | {"DS_ACCELERATOR": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    figures = [json.loads(line.removeprefix("FIGURES ")) for line in lines]
    return dict(zip(CASES, figures, strict=True))


@pytest.mark.parametrize(("stage", "dtype"), CASES)
def test_a_rank_holds_what_the_estimate_says(
    stage: int, dtype: str, held_by_case: dict[tuple[int, str], Any]
) -> None:
    held = held_by_case[stage, dtype]
    run = RunConfig.model_validate(
        {
            "name": "memory",
            "model": {"path": "m", "dtype": dtype},
            "problems": {"train": "t", "heldout": "h"},
            "learner": {"zero_stage": stage},
        }
    )
    rank = gpu_memory.rank_memory(run, SHAPE)
    # the subprocess has the policy alone; the estimate speaks of policy, critic and reference
    size = 2 if dtype == "bfloat16" else 4
    policy, critic = model_shape.parameters(SHAPE), model_shape.critic_parameters(SHAPE)
    share = policy / (policy + critic)
    stays = size * policy + (rank.optimizer + rank.kept_buffers) * share
    assert held["stays"] == pytest.approx(stays, rel=0.02)
    assert held["with_gradients"] == pytest.approx(stays + rank.gradients * share, rel=0.02)
