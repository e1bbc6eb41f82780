"""Batches and configs of the learner's tests: random tokens, uneven lengths, fixed seeds."""

from __future__ import annotations

import numpy as np

from stepcoder_dist.config import RunConfig
from stepcoder_dist.records import Outcome, Ticket, Trajectory

VOCABULARY = 280


def run_config(**sections: object) -> RunConfig:
    """A small run; `learner=dict(...)` and the like override its sections."""
    learner = {
        "samples_per_step": 5,
        "minibatch_samples": 5,
        "microbatch_tokens": 64,  # two or three samples
        "policy_lr": 1e-3,
        "critic_lr": 1e-3,
        "kl_beta": 0.0,
        "gae_lambda": 1.0,
        "zero_stage": 0,
        "resources": {"num_cpus": 1},
    }
    if learner["samples_per_step"] % dict(sections.get("learner", {})).get("ranks", 1):  # type: ignore[call-overload]
        # five do not divide over two ranks, but a step may be smaller than planned
        learner |= {"samples_per_step": 6, "minibatch_samples": 6}
    tree = {
        "name": "learner-test",
        "model": {"path": "unused", "dtype": "float32", "max_tokens": 256},
        "problems": {"train": "unused", "heldout": "unused"},
        "sampling": {
            "samples_per_problem": 1,
            "max_new_tokens": 64,
            "temperature": 1.0,
            "top_p": 1.0,
        },
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}  # type: ignore[dict-item]
    tree["learner"] = {**learner, **tree.get("learner", {})}
    return RunConfig.model_validate(tree)


def trajectories(
    number: int, *, seed: int = 0, keep_share: float = 0.7, temperature: float = 1.0
) -> list[Trajectory]:
    """Random samples of uneven length: prompts of 3–11 and completions of 1–19 tokens.

    Samples 2n and 2n + 1 have the same prompt.
    """
    random = np.random.default_rng(seed)
    batch = []
    for index in range(number):
        tokens = int(random.integers(1, 20))
        drawn = random.integers(2, VOCABULARY, int(random.integers(3, 12)))
        prompt = drawn if index % 2 == 0 else batch[-1].prompt_ids
        batch.append(
            Trajectory(
                ticket=Ticket(
                    sample_id=f"s{seed}-{index}",
                    group="g",
                    problem_id="p",
                    stage=0,
                    seed=index,
                    planned_step=1,
                ),
                level="introductory",
                prompt_ids=prompt.astype(np.int32),
                completion_ids=random.integers(2, VOCABULARY, tokens).astype(np.int32),
                rollout_logprobs=np.full(tokens, -5.6, dtype=np.float32),
                keep=random.random(tokens) < keep_share,
                reward=float(random.choice([1.0, -0.3, -0.6, -1.0])),
                outcome=Outcome.WRONG_ANSWER,
                temperature=temperature,
                oldest_weights=0,
                newest_weights=0,
            )
        )
    return batch
