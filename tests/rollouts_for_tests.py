"""Requests and run files for suites that sample with the tiny checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepcoder_dist.config import (
    ActorsConfig,
    LearnerConfig,
    ModelConfig,
    ProblemsConfig,
    RunConfig,
    SamplingConfig,
    WeightsConfig,
)
from stepcoder_dist.records import RolloutRequest, Ticket


def rollout_config(checkpoint: Path, *, actors: int = 1) -> RunConfig:
    """Small in everything: 512 tokens of context, 0.1 GiB of cache, float32."""
    return RunConfig(
        name="rollouts",
        model=ModelConfig(path=str(checkpoint), dtype="float32", max_tokens=512),
        problems=ProblemsConfig(train="ladder:train", heldout="ladder:heldout"),
        sampling=SamplingConfig(samples_per_problem=4, max_new_tokens=64),
        learner=LearnerConfig(samples_per_step=8, minibatch_samples=8),
        actors=ActorsConfig(number=actors, kv_cache_gib=0.1, max_batch=64),
        weights=WeightsConfig(deadline_s=60),
    )


def make_request(
    *,
    seed: int = 0,
    prompt_ids: Sequence[int] = (40, 41, 42, 43),
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 24,
) -> RolloutRequest:
    return RolloutRequest(
        ticket=Ticket(
            sample_id=f"s{seed}",
            group="g",
            problem_id="ladder/1",
            stage=0,
            seed=seed,
            planned_step=1,
        ),
        prompt_ids=np.asarray(prompt_ids, dtype=np.int32),
        given="",
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
    )


def tempered_logprobs(
    model: Any, prompt_ids: Sequence[int], token_ids: Sequence[int], temperature: float = 1.0
) -> np.ndarray:
    """What transformers says of sampled tokens: float32 [T]."""
    import torch

    ids = torch.tensor([[*prompt_ids, *token_ids]])
    with torch.no_grad():
        logits = model(ids).logits[0, len(prompt_ids) - 1 : -1].float() / temperature
    chosen = torch.log_softmax(logits, dim=-1)[range(len(token_ids)), list(token_ids)]
    return np.asarray(chosen)


def greedy_ids(model: Any, prompt_ids: Sequence[int], tokens: int) -> list[int]:
    """What transformers writes when it always takes the likeliest token."""
    import torch

    written = model.generate(
        torch.tensor([list(prompt_ids)]),
        attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=tokens,
    )
    return [int(token) for token in written[0, len(prompt_ids) :]]
