"""DeepSpeed, as this learner uses it: one process group, some ZeRO engines, one update at a time.

Everything that DeepSpeed would do to the loss is undone here, so that the losses of
`learner/loss` mean what they say: it would divide by accumulation steps (`scale_wrt_gas`) and
average over ranks, but our losses are already divided by counts over all ranks.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

from learner.lora.adapter import adapters_off
from learner.zero import gradients, zero_shards
from learner.zero.deepspeed_config import engine_config, on_gpu, splitting_config, zero_stage
from learner.zero.host_states import ZERO_3, HostStates
from stepcoder_dist.config import LearnerConfig, ModelConfig
from stepcoder_dist.errors import LearnerError

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
CHECKPOINT_TAG = "state"


def open_store(host: str, ranks: int) -> tuple[TCPStore, int]:
    """Rank 0's rendezvous on a port that the system picks, held from the start: no race for it."""
    store = TCPStore(
        host, 0, ranks, is_master=True, wait_for_workers=False, timeout=COLLECTIVE_TIMEOUT
    )
    return store, store.port


def join(store: Store, rank: int, ranks: int, *, threads: int) -> torch.device:
    """Enter the process group of the ranks; return the device that this rank computes on."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=not torch.cuda.is_available(), warn_only=True)
    # it would also write NaN into every new tensor, a twentieth of a small model's step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    gpu = on_gpu()
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK="0")
    if not gpu:
        _skip_shared_memory_kernels()
    device = torch.device("cuda", 0) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if gpu else "gloo",
        store=store,
        rank=rank,
        world_size=ranks,
        timeout=COLLECTIVE_TIMEOUT,
    )
    _deepspeed().init_distributed(auto_mpi_discovery=False, verbose=False)
    return device


def leave() -> None:
    """Leave the process group, if this process is in one."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class ZeroEngine:
    """A trained module under DeepSpeed. One update: some `backward` calls, then one `step`."""

    def __init__(
        self, module: nn.Module, learner: LearnerConfig, model: ModelConfig, *, weight_decay: float
    ) -> None:
        if zero_stage(learner, model) == ZERO_3:
            _split(module, learner, model)
        parameters = [p for p in module.parameters() if p.requires_grad]
        # torch's fused AdamW on every device: DeepSpeed's own would compile for minutes first
        optimizer = torch.optim.AdamW(
            parameters,
            lr=0.0,
            weight_decay=weight_decay,
            betas=learner.adam_betas,
            fused=True,
        )
        self._engine, *_ = _deepspeed().initialize(
            model=module,
            optimizer=optimizer,
            config=engine_config(module, learner, model),
            dist_init_required=False,
        )
        # at stage 0 in float32 DeepSpeed clips, and does not report the norm
        self._plain = self._engine.optimizer is optimizer
        self._ranks = torch.distributed.get_world_size()
        named = module.named_parameters(remove_duplicate=False)
        self._frozen = {name for name, p in named if not p.requires_grad}
        self.states = HostStates(self._engine)
        """What only an update needs, which can be on the host meanwhile."""

    def __call__(self, **inputs: Any) -> Any:
        """Return the module's forward pass; under ZeRO-3 every rank has to make the same calls."""
        return self._engine(**inputs)

    @property
    def module(self) -> Any:
        """The module as it was given; under ZeRO-3 its parameters are partitioned."""
        return self._engine.module

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradients of this rank's part of the loss; `last` before the update.

        `loss` is a part of a sum over all micro-batches of all ranks, in float32.
        """
        self._engine.set_gradient_accumulation_boundary(is_boundary=last)
        # times the ranks: DeepSpeed averages over them, the loss is a sum
        self._engine.backward(loss * self._ranks, scale_wrt_gas=False)

    def norm(self) -> float:
        """Return the norm of the gradients so far, before clipping; a collective before `step`.

        NaN or infinite where a gradient of any rank is.
        """
        return gradients.norm(self._engine, plain=self._plain)

    def drop(self) -> None:
        """Forget the gradients in place of a `step`: weights and moments stay. A collective."""
        gradients.drop(self._engine, plain=self._plain)

    def step(self, learning_rate: float) -> float:
        """Clip, update, forget the gradients; return the gradients' norm before clipping."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        norm = self.norm() if self._plain else 0.0
        self._engine.step()
        if not self._plain:
            norm = float(self._engine.get_global_grad_norm())
        if not math.isfinite(norm):
            raise LearnerError(
                f"the gradients' norm is {norm}; lower the learning rates or use float32, "
                "and resume from the last checkpoint"
            )
        return norm

    def save(self, folder: Path, keep: Callable[[Path, Any], None]) -> None:
        """Pass every file of this rank to `keep`, its place and its state. A collective.

        A state is DeepSpeed's own memory: it may change after `keep` has returned. DeepSpeed
        writes small files of its own next to them, which `load` does not need. Frozen parameters
        are in the folder that the module was loaded from, and are left out.
        """

        def hand_over(state_dict: Any, path: str) -> None:
            for name in self._frozen:  # DeepSpeed leaves the second names of tied ones in
                state_dict.get("module", {}).pop(name, None)
            keep(Path(path), state_dict)

        writer = self._engine.checkpoint_engine
        writer.save = hand_over  # instead of the method of its class
        try:
            self._engine.save_checkpoint(
                str(folder), tag=CHECKPOINT_TAG, exclude_frozen_parameters=bool(self._frozen)
            )
        finally:
            del writer.save

    def load(self, folder: Path) -> None:
        """Load the engine's state, which any number of ranks has saved. A collective.

        Raises `LearnerError` when DeepSpeed finds nothing there.
        """
        if not zero_shards.fits(self._engine, folder / CHECKPOINT_TAG):
            zero_shards.load(self._engine, folder / CHECKPOINT_TAG)
            return
        found, _ = self._engine.load_checkpoint(
            str(folder), tag=CHECKPOINT_TAG, load_module_strict=not self._frozen
        )
        if found is None:
            raise LearnerError(f"{folder}: DeepSpeed found no checkpoint there")


class WithoutAdapters:
    """The reference where adapters are trained: the policy's own module, as it was loaded."""

    def __init__(self, policy: ZeroEngine) -> None:
        self._policy = policy

    def __call__(self, **inputs: Any) -> Any:
        with adapters_off(self._policy.module):
            return self._policy(**inputs)


def freeze_sharded(module: nn.Module, learner: LearnerConfig, model: ModelConfig) -> Any:
    """Return a module for inference only, its parameters partitioned over the ranks (ZeRO-3)."""
    _split(module, learner, model)
    engine, *_ = _deepspeed().initialize(
        model=module, config=engine_config(module, learner, model), dist_init_required=False
    )
    return engine


def _split(module: nn.Module, learner: LearnerConfig, model: ModelConfig) -> None:
    """Divide the parameters over the ranks, those of one layer after the other. A collective.

    DeepSpeed would first bring the entire module to the GPU. What transformers has loaded is a view
    of the file: no rank ever has more memory of its own than its share and one layer's parameters.
    """
    device = torch.device("cuda" if on_gpu() else "cpu")
    config = splitting_config(learner, model)
    for part in module.modules():
        whole = [p for p in part.parameters(recurse=False) if not hasattr(p, "ds_id")]
        for parameter in whole:
            # a copy: DeepSpeed writes rank 0's values into it, and the file's pages stay shared
            parameter.data = parameter.data.to(device, copy=True)
        if whole:
            _deepspeed().zero.Init(module=nn.ParameterList(whole), config_dict_or_path=config)
    module.to(device)  # buffers: DeepSpeed leaves a module alone that is split


@contextmanager
def gathered(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Gather the parameters on every rank inside the block. A collective under ZeRO-3."""
    with _deepspeed().zero.GatheredParameters(list(parameters), modifier_rank=None):
        yield


def _deepspeed() -> Any:
    deepspeed = importlib.import_module("deepspeed")
    importlib.import_module("deepspeed.utils").logger.setLevel(logging.WARNING)
    return deepspeed


def _skip_shared_memory_kernels() -> None:
    # would compile for 100 s on first use to speed up CPU collectives that gloo does well enough
    importlib.import_module("deepspeed.comm.torch")
    sys.modules["deepspeed.comm.torch"].__dict__["build_shm_op"] = lambda: None
