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

from learner.saving import hf_folder
from learner.warm_start.sft import SftProgress, SftReport, WarmStart
from learner.warm_start.sft_plan import Phase, measured_after, plan
from stepcoder_dist.config import RunConfig, SftConfig
from stepcoder_dist.errors import ConfigError, Interrupted
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.records import SftExample
from stepcoder_dist.sft.examples import SftExamples
from stepcoder_dist.sft.work import SftWork

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


def test_the_held_out_loss_is_measured_after_each_pass_or_each_phase() -> None:
    config = SftConfig(batch_samples=64, epochs=2.5)
    staged = SftConfig(
        phases=({"steps": 5, "learning_rate": 1e-3}, {"steps": 7, "learning_rate": 1e-3})
    )

    # 100 / 64: passes end within updates 2 and 4; 2.5 passes are 4 updates
    assert measured_after(config, plan(config, [100], 0), 100) == (0, 2, 4)
    assert measured_after(staged, plan(staged, [3, 3], 0), 3) == (0, 5, 12)


def train(
    config: RunConfig,
    examples: SftExamples,
    base: Path,
    seen: list[SftProgress],
    *,
    stop_at: int | None = None,
    resume: bool = False,
) -> SftReport:
    """A warm start into `model.sft_path`, asked to stop once it reports update `stop_at`."""

    async def run() -> SftReport:
        work, stop = SftWork(config, examples), StopRequest()
        if resume:
            work.resume()
        else:
            work.begin()

        def on_progress(progress: SftProgress) -> None:
            seen.append(progress)
            if progress.step == stop_at:
                stop.ask()

        warm_start = WarmStart(config, examples, str(base), work, on_progress, stop)
        return await warm_start.run(Path(config.sft_folder))

    return asyncio.run(run())


@pytest.mark.ray
@pytest.mark.deepspeed
def test_the_warm_start_learns_and_writes_an_ordinary_folder(
    local_ray: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    del local_ray
    out = tmp_path / "sft"
    config = run_config(
        model={"sft_path": str(out)},
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
    examples = SftExamples(phases=(tuple(ECHO[:6]), tuple(ECHO)), heldout=tuple(ECHO))

    report = train(config, examples, tiny_checkpoint, seen)

    assert [progress.step for progress in seen] == list(range(1, 41))
    assert [progress.phase for progress in seen] == [0] * 30 + [1] * 10
    assert seen[0].last.loss > 5
    assert seen[29].last.loss < 0.5
    assert seen[0].last.tokens_per_s > 0
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]
    record = json.loads((out / "stepcoder.json").read_text())
    assert (record["seed"], record["updates"], record["examples"]) == (config.seed, 40, [6, 12])
    assert record["final_loss"] == seen[-1].last.loss
    curve = record["heldout_loss_after"]
    assert (list(curve), curve["40"]) == (["0", "30", "40"], report.heldout_loss)
    # phase 0 knows half of what is held out, phase 1 all of it
    assert curve["0"] > curve["30"] > curve["40"]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(41))
    assert "_attn_implementation" not in (out / "config.json").read_text()
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


@pytest.mark.ray
@pytest.mark.deepspeed
def test_a_stopped_warm_start_goes_on_to_the_same_weights_to_the_last_bit(
    local_ray: None, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    del local_ray
    examples = SftExamples(phases=(tuple(ECHO[:6]), tuple(ECHO)), heldout=tuple(ECHO[:3]))

    def settings(name: str, **sft: object) -> RunConfig:
        legs = [{"steps": 3, "learning_rate": 1e-2}, {"steps": 6, "learning_rate": 2e-3}]
        return run_config(
            model={"sft_path": str(tmp_path / name)},
            sft={"batch_samples": 5, "microbatch_samples": 2, "phases": legs, **sft},
        )

    whole = train(settings("whole"), examples, tiny_checkpoint, [])
    first: list[SftProgress] = []
    with pytest.raises(Interrupted, match=r"checkpoint of update \d of 9 in .*sft.unfinished"):
        train(settings("sft"), examples, tiny_checkpoint, first, stop_at=4)
    assert not (tmp_path / "sft").exists()
    second: list[SftProgress] = []
    often = settings("sft", checkpoint_every=2)
    resumed = train(often, examples, tiny_checkpoint, second, resume=True)

    assert [p.step for p in first + second] == list(range(1, 10))
    assert second
    rows = [{k: v for k, v in r.items() if k != "tokens_per_s"} for r in whole.rows]
    assert [{k: v for k, v in r.items() if k != "tokens_per_s"} for r in resumed.rows] == rows
    weights = [hf_folder.weights_sha256(tmp_path / name) for name in ("whole", "sft")]
    assert weights[0] == weights[1]
    # padded, the same updates: sums in another order
    train(settings("padded", packing=False), examples, tiny_checkpoint, [])
    packed, padded = (
        AutoModelForCausalLM.from_pretrained(str(tmp_path / name)).state_dict()
        for name in ("whole", "padded")
    )
    for key, value in packed.items():
        torch.testing.assert_close(padded[key], value, rtol=0, atol=2e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["padded", "sft", "whole"]
