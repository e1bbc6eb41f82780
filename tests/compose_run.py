"""The run that tests start on the cluster of deploy/compose."""

from __future__ import annotations

from collections.abc import Mapping

RUN_FILE = "deploy/runs/demo.toml"
EASY = "kinds=if,if-else&calls=0"
SETTINGS: Mapping[str, object] = {
    "problems.train": f"ladder:train?conditionals=2&count=8&{EASY}",
    "problems.heldout": f"ladder:heldout?conditionals=1-2&count=8&{EASY}",
    "model.sft_path": "/opt/stepcoder/deploy/models/ladder-sft",
    "sampling.samples_per_problem": 4,
    "sampling.max_new_tokens": 48,
    "learner.samples_per_step": 16,
    "learner.minibatch_samples": 8,
    "learner.critic_warmup_steps": 0,
    "actors.number": 1,
    "actors.resources": "{ num_cpus = 1, custom = { rollout = 1 } }",
    "learner.resources": "{ num_cpus = 1, custom = { learner = 1 } }",
    "sandbox.backend": "attached",
    "sandbox.sockets": "/guests/*/guest.sock",
    "sandbox.number": 1,
    "sandbox.containers": 1,
    "sandbox.resources": "{ num_cpus = 1, custom = { sandbox_node = 1 } }",
    "train.steps": 10_000,
}
