"""The memory estimate of a learner rank against the tensors that DeepSpeed really holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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
ONE_UPDATE = """
import gc, json, sys
import numpy as np, torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from learner import batching, policy_critic, zero_engine
from stepcoder_dist.config import LearnerConfig, ModelConfig
from stepcoder_dist.records import SftExample

stage, dtype, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
config = Qwen2Config(vocab_size=2048, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
                     num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
Qwen2ForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
zero_engine.join(zero_engine.open_store("127.0.0.1", 1)[0], 0, 1, threads=1)
learner = LearnerConfig(zero_stage=stage)
model = ModelConfig(path=folder, dtype=dtype)

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
print(json.dumps(figures))
"""


@pytest.mark.parametrize(
    ("stage", "dtype"),
    [(0, "bfloat16"), (1, "float32"), (2, "float32"), (2, "bfloat16"), (3, "bfloat16")],
)
def test_a_rank_holds_what_the_estimate_says(stage: int, dtype: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_UPDATE, str(stage), dtype, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
        env=os.environ | {"DS_ACCELERATOR": "cpu"},
    )
    held = json.loads(done.stdout.splitlines()[-1])
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
