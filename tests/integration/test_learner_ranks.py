"""The learner on real DeepSpeed ranks: every ZeRO stage is the same learner."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_batches import run_config, trajectories
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from learner import learner_group
from learner.learner_group import LearnerGroup
from learner.rank_group import RankGroup
from learner.rank_process import Rank
from learner.saving import offline_export
from stepcoder_dist.errors import ConfigError, LearnerError, RunError
from stepcoder_dist.records import StepReport

pytestmark = [pytest.mark.ray, pytest.mark.deepspeed, pytest.mark.usefixtures("local_ray")]

PROBE = [5, 17, 40, 3, 99, 250, 8]
LAYOUTS = {
    "1 rank, no ZeRO": {"ranks": 1, "zero_stage": 0},
    "2 ranks, ZeRO-2": {"ranks": 2, "zero_stage": 2},
    "2 ranks, ZeRO-3": {"ranks": 2, "zero_stage": 3},
    "2 ranks, ZeRO-3, padded": {
        "ranks": 2,
        "zero_stage": 3,
        "packing": False,
        "microbatch_samples": 2,
        "gradient_checkpointing": True,
    },
}


@dataclass
class Outcome:
    reports: list[StepReport]
    probe_before: tuple[float, ...]
    probe_after: tuple[float, ...]
    weights: dict[str, torch.Tensor]
    checkpoint: Path


@pytest.fixture(scope="module")
def outcomes(
    local_ray: None, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """Two steps on five samples of uneven length, of three prompts, under each layout."""

    async def two_steps(layout: dict[str, object], out: Path) -> Outcome:
        learner = LearnerGroup(run_config(learner=layout), str(tiny_checkpoint))
        try:
            await learner.start()
            before = await learner.probe_logprobs(PROBE)
            reports = [await learner.step(trajectories(5, seed=step)) for step in (1, 2)]
            after = await learner.probe_logprobs(PROBE)
            await learner.save_hf(str(out))
            await learner.save(str(out.with_name("checkpoint")))
        finally:
            await learner.close()
        weights = load_file(out / "model.safetensors")
        return Outcome(reports, before, after, weights, out.with_name("checkpoint"))

    del local_ray
    return {
        name: asyncio.run(two_steps(layout, tmp_path_factory.mktemp("hf") / "policy"))
        for name, layout in LAYOUTS.items()
    }


@pytest.mark.parametrize("layout", list(LAYOUTS)[1:])
def test_two_ranks_take_the_same_steps_as_one(outcomes: dict[str, Outcome], layout: str) -> None:
    one, two = outcomes["1 rank, no ZeRO"], outcomes[layout]

    for expected, report in zip(one.reports, two.reports, strict=True):
        assert report.version == expected.version
        for name in expected.metrics.keys() - {"learner_tokens_per_s"}:
            assert report.metrics[name] == pytest.approx(expected.metrics[name], abs=1e-4), name
    assert two.probe_after == pytest.approx(one.probe_after, abs=1e-4)
    assert two.weights.keys() == one.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.allclose(two.weights[name], tensor, atol=1e-4), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_policy_gradient_has_the_scale_of_the_formula(
    outcomes: dict[str, Outcome], tiny_checkpoint: Path, layout: str
) -> None:
    # β = 0, λ = γ = 1 and a critic that answers 0: every token's advantage is its sample's score;
    # the ratio π/π_old is 1 before the first update
    batch = trajectories(5, seed=1)
    model = AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), dtype=torch.float32)
    scores = np.concatenate([np.full(len(t.completion_ids), t.reward) for t in batch])
    whitened = (scores - scores.mean()) / scores.std()
    kept = sum(int(t.keep.sum()) for t in batch)
    loss, start = torch.zeros(()), 0
    for sample in batch:
        ids = torch.tensor(np.concatenate([sample.prompt_ids, sample.completion_ids]))
        logits = model(input_ids=ids[None].long()).logits[0]
        for t, token in enumerate(sample.completion_ids.tolist()):
            logprob = torch.log_softmax(logits[len(sample.prompt_ids) + t - 1], dim=-1)[token]
            correction = min(float(torch.exp(logprob.detach() + 5.6)), 2.0)
            if sample.keep[t]:
                ratio = torch.exp(logprob - logprob.detach())
                loss = loss - correction * whitened[start + t] * ratio / kept
        start += len(sample.completion_ids)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])

    metrics = outcomes[layout].reports[0].metrics
    assert metrics["policy_loss"] == pytest.approx(loss.item(), abs=1e-4)
    assert metrics["grad_norm_policy"] == pytest.approx(float(norm), rel=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_exported_folder_holds_the_weights_that_the_learner_has(
    outcomes: dict[str, Outcome], tiny_checkpoint: Path, layout: str
) -> None:
    model = AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), dtype=torch.float32)

    def probe() -> list[float]:
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([PROBE])).logits[0], dim=-1)
        return [float(logprobs[i, token]) for i, token in enumerate(PROBE[1:])]

    outcome = outcomes[layout]
    assert outcome.probe_before == pytest.approx(probe(), abs=1e-4)
    model.load_state_dict(outcome.weights, strict=False)
    model.tie_weights()
    assert outcome.probe_after == pytest.approx(probe(), abs=1e-4)
    assert outcome.probe_after != pytest.approx(outcome.probe_before, abs=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_process_exports_a_checkpoint_of_any_layout_to_the_last_bit(
    outcomes: dict[str, Outcome], tiny_checkpoint: Path, tmp_path: Path, layout: str
) -> None:
    outcome, out = outcomes[layout], tmp_path / "exported"
    config = run_config(learner=LAYOUTS[layout])
    offline_export.export(outcome.checkpoint, str(tiny_checkpoint), config, out)
    exported = load_file(out / "model.safetensors")
    assert exported.keys() == outcome.weights.keys()
    for name, tensor in outcome.weights.items():
        assert torch.equal(exported[name], tensor), name
    assert (out / "tokenizer.json").read_bytes() == (
        tiny_checkpoint / "tokenizer.json"
    ).read_bytes()


def test_one_rank_resumes_what_two_have_saved(
    outcomes: dict[str, Outcome], tiny_checkpoint: Path
) -> None:
    two = outcomes["2 ranks, ZeRO-2"]

    async def scenario() -> None:
        # what the two have by default
        samples = {"minibatch_samples": 6, "samples_per_step": 6}
        config = run_config(learner={"ranks": 1, "zero_stage": 3} | samples)
        learner = LearnerGroup(config, str(tiny_checkpoint))
        try:
            await learner.start()
            assert await learner.load(str(two.checkpoint)) == 2
            assert await learner.probe_logprobs(PROBE) == pytest.approx(two.probe_after, abs=1e-5)
            third = await learner.step(trajectories(5, seed=3))
            assert third.version == 3
        finally:
            await learner.close()

    asyncio.run(scenario())


def test_a_dead_rank_is_named_and_the_group_says_what_to_do(
    local_ray: None, tiny_checkpoint: Path
) -> None:
    import ray

    del local_ray

    async def scenario() -> None:
        learner = LearnerGroup(
            run_config(learner={"ranks": 2, "zero_stage": 2}), str(tiny_checkpoint)
        )
        try:
            await learner.start()
            ray.kill(ray.get_actor("learner-rank-1"))
            with pytest.raises(LearnerError, match=r"learner-rank-[01] (died|failed) in step"):
                await learner.step(trajectories(6))
            with pytest.raises(LearnerError, match="start a new one and load the last checkpoint"):
                await learner.step(trajectories(6))
        finally:
            await learner.close()
        with pytest.raises(ValueError, match="learner-rank-0"):
            ray.get_actor("learner-rank-0")

    asyncio.run(scenario())


def idle() -> type[Rank]:
    """Return a class of ranks that compute nothing; made here, it travels by value."""
    import os

    class Idle:
        def __init__(self, *_: object) -> None:
            """See `rank_process.Rank`."""

        def rendezvous(self) -> tuple[str, int]:
            return "127.0.0.1", 1

        def start(self, _host: str, _port: int) -> None:
            """There is nobody to join."""

        def pid(self) -> int:
            return os.getpid()

    return Idle  # type: ignore[return-value]


@pytest.fixture
def idle_ranks(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del local_ray
    made = idle()
    monkeypatch.setattr(learner_group, "_worker", lambda: made)


@pytest.mark.parametrize(
    ("signal_", "words"),
    [(signal.SIGKILL, "learner-rank-1 died"), (signal.SIGSTOP, "a learner rank hangs")],
)
def test_a_rank_that_is_lost_while_nothing_is_asked_of_it_ends_what_waits(
    idle_ranks: None, monkeypatch: pytest.MonkeyPatch, signal_: signal.Signals, words: str
) -> None:
    del idle_ranks
    monkeypatch.setattr(learner_group, "SETTLE_S", 0.1)

    async def wait_for_ever(learner: LearnerGroup, process: int) -> None:
        async with asyncio.timeout(60), learner.watched():
            os.kill(process, signal_)
            await asyncio.Event().wait()

    async def scenario() -> None:
        config = run_config(learner={"ranks": 2, "silence_s": 2.0})
        learner = LearnerGroup(config, "none", PROBE)
        await learner.start()
        process = await learner._ranks.call_one(1, "pid")
        try:
            with pytest.raises(LearnerError, match=words):
                await wait_for_ever(learner, process)
            with pytest.raises(LearnerError, match="cannot pid"):
                await learner._ranks.call("pid")
        finally:
            await learner.close()

    asyncio.run(scenario())


def test_the_error_of_a_call_says_more_than_that_a_rank_was_lost(
    idle_ranks: None,
) -> None:
    del idle_ranks

    async def fail_by_itself(learner: LearnerGroup, process: int) -> None:
        async with learner.watched():
            os.kill(process, signal.SIGKILL)
            with pytest.raises(LearnerError, match="died"):
                await learner._ranks.watch()
            await asyncio.sleep(1.0)  # the other watch has seen it too
            raise RunError("the block's own")

    async def scenario() -> None:
        learner = LearnerGroup(run_config(learner={"silence_s": 2.0}), "none", PROBE)
        await learner.start()
        process = await learner._ranks.call_one(0, "pid")
        try:
            async with learner.watched():
                pass  # ends by itself
            with pytest.raises(RunError, match="the block's own"):
                await fail_by_itself(learner, process)
        finally:
            await learner.close()

    asyncio.run(scenario())


def test_what_the_node_of_a_rank_lacks_is_said_in_one_line(local_ray: None) -> None:
    del local_ray

    def without_torch() -> type[Rank]:
        raise ModuleNotFoundError("No module named 'torch'")

    group = RankGroup(without_torch, run_config(), "none")
    words = r"^learner-rank-0 did not start: ModuleNotFoundError: No module named 'torch'$"
    with pytest.raises(LearnerError, match=words):
        asyncio.run(group.start())


def test_a_missing_model_is_the_users_mistake(local_ray: None, tmp_path: Path) -> None:
    del local_ray

    async def scenario() -> None:
        learner = LearnerGroup(run_config(), str(tmp_path / "nowhere"))
        with pytest.raises(ConfigError, match=r"nowhere: no model there \(no such folder\)"):
            await learner.start()

    asyncio.run(scenario())


def test_bfloat16_trains_with_float32_masters(local_ray: None, tiny_checkpoint: Path) -> None:
    del local_ray

    async def scenario() -> None:
        learner = LearnerGroup(
            run_config(
                model={"dtype": "bfloat16"},
                learner={"zero_stage": 1, "gradient_checkpointing": True, "policy_lr": 1e-4},
            ),
            str(tiny_checkpoint),
        )
        try:
            await learner.start()
            before = await learner.probe_logprobs(PROBE)
            for _ in range(2):
                report = await learner.step(trajectories(5, seed=1))
            after = await learner.probe_logprobs(PROBE)
        finally:
            await learner.close()
        assert report.version == 2
        assert after != before
        assert after == pytest.approx(before, abs=0.5)

    asyncio.run(scenario())
