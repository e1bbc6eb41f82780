"""A push as the rollout actor sees it: named tensors into the live model, all or nothing.

    READY ──start──▶ UPDATING ──first bucket──▶ UPDATING, touched ──finish──▶ READY at n+1
      ▲                 │ abort: nothing was loaded      │ abort, refused finish, failed load
      └──── at n ◀──────┘                                ▼
                         READY ──rest──▶ AWAITING_WEIGHTS ──a complete push──▶ READY

With `weights.on_update = "continue"` the weights change between two steps, under what is decoding.
Buckets that come through the object store are then checked and kept, and the engine decodes; the
commit loads all of them at once, so an update that ends before has changed nothing. Over NCCL they
are loaded as they arrive, and the engine does not step from the first to the commit. An update that
breaks after its first tensor was loaded ends what is decoding (`on_broken`): no token is made with
mixed weights. The cached prefixes stay, under another salt than that of the requests which are
added from then on (`vllm_sampler.py`).

At rest vLLM sleeps: its weights and its cache are gone from the GPU. A push wakes the weights'
memory when it starts and the cache's when it commits, so that the two are never needed together
with what the push itself needs.

The only file of the actors that calls vLLM's weight-transfer API, which changed shape between vLLM
0.26 and 0.33 (`engine.py` names the backend). vLLM itself takes whatever part of a model it is sent
and reports success (layers without new weights keep their old ones, unknown names may be skipped),
so names, shapes, checksum and completeness are checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

from actors.bucket_tensors import check_bytes, unpack
from stepcoder_dist.errors import MissingEngine, WeightPushError
from stepcoder_dist.records import WeightBucket, WeightVersion

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

WORKER_EXTENSION = "actors.weight_receiver.WeightUpdateWorker"
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

_DISCARD = 2
"""Level of sleep: weights are not copied to the host, for the next push brings every one."""


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


class State(StrEnum):
    """Whether the actor may sample."""

    READY = "ready"
    UPDATING = "updating"
    AWAITING_WEIGHTS = "awaiting weights"


class WeightReceiver:
    """The state machine above, around one engine. Lives on the engine's thread.

    `expected` maps the checkpoint's parameter names to their shapes; `optional` names may be
    absent from a push (tied embeddings). Every method raises `WeightPushError`.

    `continues`: a push comes while the engine decodes. `on_broken` is called when an update that
    had changed the model was given up.
    """

    def __init__(
        self,
        engine: LLMEngine,
        expected: Mapping[str, tuple[int, ...]],
        *,
        optional: frozenset[str],
        awaits_weights: bool,
        continues: bool = False,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._continues = continues
        self._on_broken = on_broken
        self._kept: list[WeightBucket] = []
        """Buckets that the commit will load."""
        self._expected = expected
        self._optional = optional
        self._whole = not awaits_weights
        self._asleep: set[str] = set()
        """Tags of the engine's memory that is released now."""
        self._updating_to: WeightVersion | None = None
        self._touched = False
        self._arrived: set[str] = set()
        self._buckets = 0
        self.version: WeightVersion = 0
        self.commits = 0
        """Pushes that were committed. Versions come again when a learner is started again."""
        engine.set_weight_version("0")

    @property
    def state(self) -> State:
        if self._updating_to is not None:
            return State.UPDATING
        return State.READY if self._whole else State.AWAITING_WEIGHTS

    @property
    def holds_one_version(self) -> bool:
        """False from the first loaded tensor of an update to its commit, and at rest."""
        return self._whole

    def rest(self) -> None:
        """Release the weights and the cache. The caller has drained the engine."""
        self._close()
        self._whole = False
        if not self._asleep:
            self._engine.sleep(level=_DISCARD)
            self._asleep = {"weights", "kv_cache"}

    def start(self, version: WeightVersion) -> None:
        """Open a push. One that was left open is given up. The caller has drained the engine."""
        self._close()
        self._wake("weights")
        self._updating_to = version
        self._arrived.clear()
        self._buckets = 0

    def load(self, bucket: WeightBucket) -> None:
        """Check the bucket, then load it. A refused bucket has changed nothing."""
        self._check_open(bucket.version)
        self._check_names(bucket.names, bucket.shapes)
        check_bytes(bucket)
        if self._continues:
            self._kept.append(bucket)
            self._arrive(bucket.names)
        else:
            self._update({"bucket": bucket})
            self._arrive(bucket.names)

    def receive(self, update_info: dict[str, Any]) -> None:
        """One round of vLLM's own transports (NCCL, IPC): blocks until every tensor is loaded."""
        self._check_open(self._updating_to)
        self._check_names(update_info["names"], [tuple(s) for s in update_info["shapes"]])
        self._update(update_info)
        self._arrive(update_info["names"])

    def finish(self, version: WeightVersion, buckets: int) -> None:
        """Commit, or refuse: every expected parameter has to have arrived."""
        self._check_open(version)
        missing = sorted(self._expected.keys() - self._arrived - self._optional)
        if missing or buckets != self._buckets:
            got = f"{self._buckets} of {buckets} buckets"
            self._close()
            raise WeightPushError(
                f"version {version} is incomplete: {got} arrived, {len(missing)} parameters are "
                f"missing ({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''})"  # noqa: PLR2004
            )
        self._load_kept()
        self._engine.collective_rpc("finish_weight_update")
        self._wake("kv_cache")
        # Cached prefixes hold keys and values of the old weights: reusing them is silently wrong.
        if not self._continues and not self._engine.reset_prefix_cache():
            self._close()
            raise WeightPushError("the prefix cache was in use at commit and was not reset")
        self._engine.set_weight_version(str(version))
        self.version = version
        self.commits += 1
        self._whole, self._touched, self._updating_to = True, False, None

    def abort(self, version: WeightVersion) -> None:
        """End an open push of this version: back to the old weights if nothing was loaded."""
        if self._updating_to == version:
            self._close()

    def join_transfer(self, init_info: dict[str, Any]) -> None:
        """Join the NCCL group of the learner's rank 0, leaving an earlier one.

        Over IPC there is no group: `init_info` says only how the bytes are laid out.
        """
        self._engine.collective_rpc("shutdown_weight_transfer_engine")
        self._engine.collective_rpc("init_weight_transfer_engine", args=(init_info,))
        if "master_address" not in init_info:
            return
        if not all(self._engine.collective_rpc("has_live_transfer_group")):
            raise WeightPushError(
                "vLLM found no NCCL library here: its transfers would do nothing; install "
                'nvidia-nccl or set weights.transport = "object_store"'
            )

    def _load_kept(self) -> None:
        kept, self._kept = self._kept, []
        try:
            for bucket in kept:
                self._update({"bucket": bucket})
        except BaseException:
            self._close()
            raise

    def _update(self, update_info: dict[str, Any]) -> None:
        if not self._touched:
            # Only now: until the first tensors are good, the model is not touched.
            self._touched, self._whole = True, False
            self._engine.collective_rpc("start_weight_update")
        self._engine.collective_rpc("update_weights", args=(update_info,))

    def _arrive(self, names: Sequence[str]) -> None:
        self._arrived.update(names)
        self._buckets += 1

    def _wake(self, tag: str) -> None:
        if tag in self._asleep:
            self._engine.wake_up(tags=[tag])
            self._asleep.remove(tag)

    def _close(self) -> None:
        broken = self._touched
        self._touched, self._updating_to = False, None
        self._kept.clear()
        if broken:
            self._on_broken()
            self._engine.collective_rpc("close_broken_update")

    def _check_open(self, version: WeightVersion | None) -> None:
        if version is None or self._updating_to != version:
            raise WeightPushError(
                f"no update to version {version} is open (open: {self._updating_to}); "
                "call start_update first"
            )

    def _check_names(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
        known = self._expected.keys() | self._optional
        unknown = sorted(set(names) - known)
        if unknown:
            raise WeightPushError(f"the checkpoint has no parameter {', '.join(unknown[:3])}")
        if len(set(names)) < len(names) or not self._arrived.isdisjoint(names):
            twice = sorted({n for n in names if names.count(n) > 1} | (self._arrived & set(names)))
            raise WeightPushError(f"sent twice in one push: {', '.join(twice[:3])}")
        for name, shape in zip(names, shapes, strict=True):
            if name in self._expected and tuple(shape) != tuple(self._expected[name]):
                raise WeightPushError(
                    f"{name} has shape {tuple(shape)}, the checkpoint's is {self._expected[name]}"
                )
