"""The supervised warm start on real DeepSpeed ranks."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_batches import run_config
from transformers import AutoModelForCausalLM, AutoTokenizer

from learner import hf_folder
from learner.sft import SftProgress, plan, run_sft
from learner.sft_worker import Phase
from stepcoder_dist.config import SftConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.records import SftExample

ECHO = [
    SftExample(
        prompt_ids=np.array([5, 10 + n, 7], dtype=np.int32),
        completion_ids=np.array([10 + n] * (1 + n % 3) + [0], dtype=np.int32),
    )
    for n in range(12)
]
"""Say the middle token of the prompt one to three times, then stop."""

PHASE = Phase(
    number=0,
    steps=10,
    warmup_steps=2,
    learning_rate=1.0,
    batch_samples=4,
    microbatch_samples=2,
    seed=0,
)


def test_the_learning_rate_warms_up_and_falls_to_zero_after_the_last_step() -> None:
    rates = [PHASE.learning_rate_at(step) for step in range(10)]

    assert rates == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]


def test_every_pass_shows_every_example_once_though_batches_straddle_passes() -> None:
    seen = [i for step in range(9) for i in PHASE.samples_at(step, 6)]

    assert [sorted(seen[start : start + 6]) for start in range(0, 36, 6)] == [list(range(6))] * 6
    assert seen[:6] != seen[6:12]
    assert PHASE.samples_at(3, 6) != replace(PHASE, number=1).samples_at(3, 6)


def test_without_phases_the_plan_is_so_many_passes_over_the_examples() -> None:
    config = SftConfig(batch_samples=64, epochs=3, warmup_epochs=0.3, learning_rate=2e-5)

    (phase,) = plan(config, [1000], seed=7)

    # 3 · 1000 / 64 = 46.9 -> 47 updates; 0.3 · 1000 / 64 = 4.7 -> 5 of warm-up
    assert (phase.steps, phase.warmup_steps, phase.learning_rate) == (47, 5, 2e-5)


def test_a_phase_without_examples_is_the_users_mistake() -> None:
    config = SftConfig(phases=({"steps": 5, "learning_rate": 1e-3, "max_conditionals": 1},))

    with pytest.raises(ConfigError, match="sft phase 0 has no example"):
        plan(config, [0], seed=0)
    with pytest.raises(ConfigError, match=r"2 lists of examples for 1 sft.phases"):
        plan(config, [3, 4], seed=0)


@pytest.mark.ray
@pytest.mark.deepspeed
def test_the_warm_start_learns_and_writes_an_ordinary_folder(
    local_ray: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    del local_ray
    config = run_config(
        learner={"ranks": 2, "zero_stage": 3},
        sft={
            "batch_samples": 12,
            "microbatch_samples": 4,
            "phases": [
                {"steps": 30, "learning_rate": 1e-2, "warmup_steps": 2},
                {"steps": 10, "learning_rate": 2e-3},
            ],
        },
    )
    seen: list[SftProgress] = []
    out = tmp_path / "sft"

    report = asyncio.run(
        run_sft(config, [ECHO[:6], ECHO], out, str(tiny_checkpoint), seen.append, heldout=ECHO)
    )

    assert [progress.step for progress in seen] == list(range(1, 41))
    assert [progress.phase for progress in seen] == [0] * 30 + [1] * 10
    assert seen[0].last.loss > 5
    assert seen[29].last.loss < 0.5
    assert seen[0].last.tokens_per_s > 0
    assert not out.with_name("sft.partial").exists()
    record = json.loads((out / "stepcoder.json").read_text())
    assert (record["seed"], record["updates"], record["examples"]) == (config.seed, 40, [6, 12])
    assert record["final_loss"] == seen[-1].last.loss
    assert record["sha256"] == hf_folder.weights_sha256(out)
    model = AutoModelForCausalLM.from_pretrained(str(out))
    assert AutoTokenizer.from_pretrained(str(out)).eos_token_id == 0
    total = tokens = 0.0
    for example in ECHO:
        ids = torch.tensor(np.concatenate([example.prompt_ids, example.completion_ids])).long()
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
        for place, token in enumerate(example.completion_ids.tolist()):
            total -= float(logprobs[len(example.prompt_ids) + place - 1, token])
            tokens += 1
    assert report.heldout_loss == pytest.approx(total / tokens, abs=1e-4)
