"""One rank without networks: what it gives back to the engine on its GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from learner.batches.batching import MicroBatch
from learner.worker import LearnerWorker
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import WeightPushError


class Publisher:
    def __init__(self, *, fails: bool = False) -> None:
        self._fails = fails

    def push(self, *_: Any) -> None:
        if self._fails:
            raise WeightPushError("a target failed")


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("cache"))
    monkeypatch.setattr(MicroBatch, "to", lambda micro, _device: micro)
    return calls


def rank(*, colocate: bool) -> LearnerWorker:
    one_gpu = {"resources": {"num_gpus": 0.5 if colocate else 1.0}}
    config = RunConfig.model_validate(
        {
            "name": "rank",
            "colocate": colocate,
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "learner": one_gpu,
            "actors": one_gpu,
        }
    )
    worker = LearnerWorker(config, "none", 0, 1)
    worker.device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
    worker.version = 3
    worker.policy = lambda **inputs: (torch.zeros(len(inputs["token_ids"])), None)  # type: ignore[assignment]
    worker._publisher = Publisher()
    return worker


def probe(worker: LearnerWorker) -> None:
    worker.probe_logprobs(np.array([1, 2, 3], dtype=np.int32))


def push(worker: LearnerWorker) -> None:
    worker.push([], 1.0)


@pytest.mark.parametrize("act", [probe, push])
def test_a_rank_that_shares_its_gpu_keeps_no_memory_after_a_push_or_a_probe(
    given_back: list[str], act: Callable[[LearnerWorker], None]
) -> None:
    act(rank(colocate=True))
    assert given_back == ["cache"]
    act(rank(colocate=False))
    assert given_back == ["cache"]


def test_a_push_that_failed_gives_back_too(given_back: list[str]) -> None:
    worker = rank(colocate=True)
    worker._publisher = Publisher(fails=True)
    with pytest.raises(WeightPushError):
        push(worker)
    assert given_back == ["cache"]


class Engine:
    """An engine whose states note where they go."""

    def __init__(self, name: str, diary: list[str]) -> None:
        self.states = SimpleNamespace(
            to_host=lambda: diary.append(f"{name} to the host"),
            to_device=lambda: diary.append(f"{name} back"),
        )


@pytest.mark.parametrize("offloading", [True, False])
def test_states_are_on_the_device_for_a_step_and_on_the_host_before_the_cache_is_given_back(
    given_back: list[str], offloading: bool
) -> None:
    worker = rank(colocate=True)
    learner = worker.config.learner.model_copy(update={"offload_while_sampling": offloading})
    worker.config = worker.config.model_copy(update={"learner": learner})
    worker.policy = Engine("policy", given_back)  # type: ignore[assignment]
    worker.critic = Engine("critic", given_back)  # type: ignore[assignment]
    worker.skipped_steps = worker.nonfinite_steps = 0

    def run(*_: Any) -> dict[str, float]:
        given_back.append("step")
        return {"kept_share": 1.0}

    worker.ppo = SimpleNamespace(run=run)  # type: ignore[assignment]
    worker.step([])
    away = ["policy to the host", "critic to the host"] if offloading else []
    assert given_back == ["policy back", "critic back", "step", *away, "cache"]
