"""What a push needs inside vLLM: our transfer backend, and calls of ours in every worker.

The only file of the actors that calls vLLM's weight-transfer API, which changed shape between vLLM
0.26 and 0.33 (`engine.py` names the backend).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from actors.bucket_tensors import unpack
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import WeightBucket

try:
    from vllm import __version__ as vllm_version
    from vllm.distributed.weight_transfer import (
        WeightTransferEngine,
        WeightTransferEngineFactory,
    )
    from vllm.distributed.weight_transfer.base import (
        WeightTransferInitInfo,
        WeightTransferUpdateInfo,
    )
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
    from vllm.model_executor.model_loader.reload import (
        finalize_layerwise_reload,
        initialize_layerwise_reload,
    )
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.worker.gpu_worker import Worker
except ImportError as error:
    raise MissingEngine(
        f"the weight-transfer API of vLLM 0.32 is not what is installed here ({error}); "
        "install the versions of deploy/locks"
    ) from error

WORKER_EXTENSION = "actors.weight_transfer.WeightUpdateWorker"
"""Importing this module in every vLLM worker registers the backend below."""

TRANSFER_BACKENDS = {"object_store": "stepcoder_object_store", "nccl": "nccl", "ipc": "ipc"}
"""Transport of the run file to the name of vLLM's backend."""

_WORKER_CALLS = (
    "init_weight_transfer_engine",
    "shutdown_weight_transfer_engine",
    "start_weight_update",
    "update_weights",
    "finish_weight_update",
)
_ENGINE_CALLS = (
    "collective_rpc",
    "set_weight_version",
    "reset_prefix_cache",
    "sleep",
    "wake_up",
)


def check_vllm(worker: type = Worker, engine: type = LLMEngine) -> None:
    """Raise `MissingEngine` when this vLLM lacks a call that a push needs."""
    missing = [f"Worker.{name}" for name in _WORKER_CALLS if not hasattr(worker, name)]
    missing += [f"LLMEngine.{name}" for name in _ENGINE_CALLS if not hasattr(engine, name)]
    if missing:
        raise MissingEngine(
            f"vLLM {vllm_version} lacks {', '.join(missing)}, which pushing weights needs; "
            "install the vLLM of deploy/locks (0.32)"
        )


@dataclass
class NoHandshake(WeightTransferInitInfo):
    """The object store needs no rendezvous."""


@dataclass
class BucketUpdate(WeightTransferUpdateInfo):
    """One `update_weights` call: one bucket."""

    bucket: WeightBucket


class ObjectStoreEngine(WeightTransferEngine):
    """Loads buckets that came through Ray's object store into the live model, on any device.

    The layerwise reload restores each layer to the shape of the checkpoint, loads it, repacks it
    for the device and copies it over the tensors that compiled graphs already point to.
    """

    init_info_cls = NoHandshake
    update_info_cls = BucketUpdate

    def init_transfer_engine(self, init_info: NoHandshake) -> None:
        """Nothing to set up."""

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))
        # The base class synchronises the accelerator, and on the CPU there is none.
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: BucketUpdate) -> None:
        self.model.load_weights(unpack(update_info.bucket))

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            self._repack_output_layers()

    def _repack_output_layers(self) -> None:
        """Give a tied output layer the new weights too.

        It shares the embedding's tensor, so nothing is loaded into it and the reload passes it
        over; but on the CPU it computes from a packed copy of that tensor, made at the start.
        """
        for layer in self.model.modules():
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)

    def shutdown(self) -> None:
        """Nothing to release."""


WeightTransferEngineFactory.register_engine(TRANSFER_BACKENDS["object_store"], ObjectStoreEngine)


class WeightUpdateWorker:
    """Mixed into vLLM's worker class: calls of ours that run in every worker."""

    def close_broken_update(self) -> None:
        """Give up a half-loaded update, so that a new one can start from the beginning.

        vLLM keeps the half-filled layers waiting otherwise, and would mix their tensors into the
        next update. What the weights are afterwards is undefined.
        """
        worker: Any = self
        finalize_layerwise_reload(worker.model_runner.get_model(), worker.model_config)
        worker._weight_update_active = False  # noqa: SLF001 (vLLM has no call for this)
        # over IPC the learner's buffer stays mapped, and its memory taken, until this is closed
        importer = getattr(worker.weight_transfer_engine, "_packed_importer", None)
        if importer is not None:
            importer.close()

    def has_live_transfer_group(self) -> bool:
        """False: without libnccl vLLM's communicator exists, does nothing and says it did."""
        worker: Any = self
        group = getattr(worker.weight_transfer_engine, "model_update_group", None)
        return group is not None and not group.disabled
