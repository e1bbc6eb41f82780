"""What a DeepSpeed engine holds besides its parameters, moved to the host's memory and back.

    stage                 masters and Adam's moments        gradients
    0 in float32          moments, here; no masters         none between steps
    1 in float32, and 2   DeepSpeed's `offload_states`      none between steps
    3                     here                              DeepSpeed's `offload_states`

At stage 3 DeepSpeed moves the states of its own FusedAdam only, which would be compiled first.
Stages 0 and 1 in bfloat16 keep views of everything: the run file is refused
(`stepcoder_dist/config/run.py`). On a GPU the host's memory is pinned. On the CPU everything is
copied all the same, so that tests take the same way.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

ZERO_3 = 3


class HostStates:
    """The moves of one engine. Parameters stay: pushes, probes and exports need them."""

    def __init__(self, engine: Any) -> None:
        """`engine` is a `DeepSpeedEngine` with an optimizer."""
        self._engine = engine
        self._away = False

    def to_host(self) -> None:
        """Move what only an update needs, unless it is there already. A collective."""
        if self._away:
            return
        self._away = True
        kinds = importlib.import_module("deepspeed.runtime.zero.offload_config")
        kind = kinds.OffloadStateTypeEnum
        stage = self._engine.zero_optimization_stage()
        if stage == ZERO_3:
            self._engine.offload_states(include=[kind.lp_grads, kind.contiguous_grad_buffer])
            for master in self._engine.optimizer.fp32_partitioned_groups_flat:
                host = torch.empty_like(master, device="cpu", pin_memory=master.is_cuda)
                master.data = host.copy_(master)
        elif stage > 0:
            self._engine.offload_states(include=[kind.hp_params, kind.optim_states, kind.lp_grads])
        if stage in {0, ZERO_3}:
            _moves().offload_optimizer_states(self._adam(), "cpu", pin_memory=True)

    def to_device(self) -> None:
        """Bring everything back, unless it is there. A collective."""
        if not self._away:
            return
        self._away = False
        stage = self._engine.zero_optimization_stage()
        device = self._engine.device
        if stage > 0:
            self._engine.reload_states()
        if stage == ZERO_3:
            for master in self._engine.optimizer.fp32_partitioned_groups_flat:
                master.data = master.data.to(device)
        if stage in {0, ZERO_3}:
            _moves().reload_optimizer_states(self._adam(), device)

    def _adam(self) -> Any:
        """Return torch's optimizer inside DeepSpeed's."""
        optimizer = self._engine.optimizer
        return getattr(optimizer, "optimizer", optimizer)


def _moves() -> Any:
    return importlib.import_module("deepspeed.runtime.zero.offload_states")
