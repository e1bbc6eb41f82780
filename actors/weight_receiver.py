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

vLLM itself takes whatever part of a model it is sent and reports success (layers without new
weights keep their old ones, unknown names may be skipped), so names, shapes, checksum and
completeness are checked here. What runs inside vLLM is in `weight_transfer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from vllm.v1.engine.llm_engine import LLMEngine

from actors.bucket_tensors import check_bytes
from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.records import WeightBucket, WeightVersion

_DISCARD = 2
"""Level of sleep: weights are not copied to the host, for the next push brings every one."""


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
