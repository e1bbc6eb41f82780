"""Rollout actor and learner rank in turns on one GPU: placement, the whole run, memory given back.

The run is rehearsed on the CPU, where the calls are the same and nothing is freed; the tests
marked `gpu` are the true ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")
pytest.importorskip("deepspeed")

from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine

DEMO = Path(__file__).parents[2] / "deploy" / "runs" / "demo.toml"
EASY = "kinds=if,if-else&calls=0"
SMALL = {
    "problems.sft": f"ladder:sft?conditionals=1-2&count=64&{EASY}",
    "problems.train": f"ladder:train?conditionals=2&count=8&{EASY}",
    "problems.heldout": f"ladder:heldout?conditionals=1-2&count=8&{EASY}",
    "sft.phases": "[{ steps = 8, learning_rate = 3e-3 }]",
    "sampling.samples_per_problem": 4,
    "sampling.max_new_tokens": 48,
    "learner.samples_per_step": 16,
    "learner.minibatch_samples": 8,
    "learner.critic_warmup_steps": 0,
    "train.steps": 3,
    "actors.number": 1,
    "sandbox.number": 1,
    "colocate": "true",
}
ON_ONE_GPU = {
    "model.dtype": "bfloat16",
    "learner.zero_stage": 2,
    "actors.gpu_memory_share": 0.3,
    "actors.resources": "{ num_cpus = 1, num_gpus = 0.5 }",
    "learner.resources": "{ num_cpus = 1, num_gpus = 0.5 }",
    "weights.probe_tolerance": 0.1,
}
PLACEMENT = """
import json, os, ray
from stepcoder_dist.launch.cluster import placement
from stepcoder_dist.run.run_file import load

config = load("deploy/runs/one_gpu.toml", ["actors.number=2", "learner.ranks=2"])
ray.init(address="local", num_cpus=8, num_gpus=2, namespace="pairs", include_dashboard=False)
before = placement.of_rollout(config, 0)
placement.reserve(config, learner=True, pools=True)

@ray.remote(num_cpus=1, num_gpus=0.5)
class Member:
    def gpu(self):
        return os.environ["CUDA_VISIBLE_DEVICES"]

both = (placement.of_rollout, placement.of_rank)
pairs = [[Member.options(**of(config, pair)).remote() for of in both] for pair in range(2)]
told = [ray.get([member.gpu.remote() for member in pair]) for pair in pairs]
print(json.dumps({"before": before, "told": told}))
ray.shutdown()
"""


def cuda() -> bool:
    import torch

    return torch.cuda.is_available()


gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif("not cuda()", reason="no GPU: torch sees no CUDA device"),
]


@pytest.mark.ray
def test_actor_and_rank_of_a_pair_see_the_same_gpu_and_other_pairs_another() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLACEMENT],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=DEMO.parents[2],
        env=os.environ | {"RAY_ADDRESS": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["before"] == {}
    (first, same), (second, again) = found["told"]
    assert first == same
    assert second == again
    assert {first, second} == {"0", "1"}


@pytest.mark.docker
@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.deepspeed
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("gpu", marks=gpu)], ids=["rehearsed on the CPU", "on a GPU"]
)
def test_a_whole_run_in_turns_trains_on_what_its_own_weights_sampled(
    device: str, tmp_path: Path
) -> None:
    from sandbox.backend import choose

    try:
        choose(SandboxConfig(backend="docker"))
    except MissingEngine as error:
        pytest.skip(str(error))
    settings: dict[str, Any] = SMALL | (ON_ONE_GPU if device == "gpu" else {})
    settings |= {"run_dir": tmp_path / "run", "model.sft_path": tmp_path / "sft"}
    sets = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "stepcoder_dist", "demo", str(DEMO), *sets],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
        env=os.environ | {"RAY_ADDRESS": ""},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    steps = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    samples = [json.loads(row) for row in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    # every engine slept before each of the three steps and came back with the weights of the last
    assert [sample["weights"] for sample in samples] == [
        [version, version] for version in range(3) for _ in range(16)
    ]
    tolerance = 0.05 if device == "gpu" else 0.02
    assert all(step["logprob_mismatch"] < tolerance for step in steps)


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.parametrize("device", [pytest.param("gpu", marks=gpu)], ids=["on a GPU"])
def test_a_sleeping_engine_gives_its_memory_back_and_wakes_with_the_pushed_weights(
    device: str, tmp_path: Path
) -> None:
    """In a process of its own: vLLM's sleeping allocator has to be the first user of the GPU."""
    del device
    done = subprocess.run(
        [sys.executable, "-c", SLEEP, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=DEMO.parents[2],
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    share = 0.3 * found["total"]
    assert found["asleep_freed"] > 0.8 * share
    assert found["weights_back"] < found["asleep_freed"] / 2
    assert found["worst_logprob_difference"] < 0.1


SLEEP = """
import asyncio, json, os, sys
from pathlib import Path

import torch

from learner import tiny_model
from learner.push.weight_buckets import pack, plan_buckets
from stepcoder_dist.problems import ladder
from stepcoder_dist.config import TinyModel
from stepcoder_dist.run.run_file import load
from actors.rollout_actor import environment

folder = Path(sys.argv[1])
ladder.write_tokenizer(folder)
tiny_model.create(TinyModel(), folder, folder, seed=0, dtype="bfloat16")
config = load("deploy/runs/one_gpu.toml", [
    f"model.path={folder}", "model.max_tokens=512", "sampling.max_new_tokens=64",
    "actors.gpu_memory_share=0.3",
])
os.environ.update(environment(config))  # before vllm is imported
from actors.vllm_sampler import VllmSampler
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
IDS = list(range(20, 60))

def used():
    free, total = torch.cuda.mem_get_info()
    return total - free

async def turn(sampler):
    awake = used()
    await sampler.rest()
    asleep = used()
    await sampler.start_update(1)
    weights = used()
    buckets = [pack(part, 1) for part in plan_buckets(model, 2**20)]
    for bucket in buckets:
        await sampler.load_bucket(bucket)
    await sampler.finish_update(1, len(buckets))
    return awake, asleep, weights, await sampler.probe(IDS)

sampler = VllmSampler(str(folder), config, name="rollout-0")
awake, asleep, weights, probe = asyncio.run(turn(sampler))
with torch.no_grad():
    logits = model(torch.tensor([IDS])).logits[0, :-1].float()
own = torch.log_softmax(logits, dim=-1)[range(len(IDS) - 1), IDS[1:]]
print(json.dumps({
    "total": torch.cuda.mem_get_info()[1],
    "asleep_freed": awake - asleep,
    "weights_back": weights - asleep,
    "worst_logprob_difference": float((own - torch.tensor(probe.logprobs)).abs().max()),
}))
sampler.close()
"""


@pytest.mark.deepspeed
@pytest.mark.parametrize("stage", [pytest.param(stage, marks=gpu) for stage in (2, 3)])
def test_states_on_the_host_leave_their_room_on_the_gpu(stage: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOST_STATES, str(stage)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=DEMO.parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # float32 masters and two moments
    assert found["freed"] > 0.9 * 12 * found["parameters"]
    assert found["moved"] == found["kept"]


HOST_STATES = """
import json, sys

import test_zero_engine as one
import torch

one.RANKS = 1
from learner.zero import zero_engine

stage = int(sys.argv[1])
store, _ = zero_engine.open_store("127.0.0.1", 1)
zero_engine.join(store, 0, 1, threads=1)
plain = one.engine(stage, "bfloat16")
kept = [one.update(plain, 3) for _ in range(3)]
parameters = sum(getattr(p, "ds_numel", p.numel()) for p in plain.module.parameters())
del plain
moving = one.engine(stage, "bfloat16")
moved = []
for _ in range(3):
    moving.states.to_device()
    moved.append(one.update(moving, 3))
    here = torch.cuda.memory_allocated()
    moving.states.to_host()
    torch.cuda.empty_cache()
    away = torch.cuda.memory_allocated()
print(json.dumps({"parameters": parameters, "freed": here - away, "moved": moved, "kept": kept}))
"""
