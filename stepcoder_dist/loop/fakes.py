"""Small, deterministic implementations of the ports, to drive the loops without heavy parts.

They are shipped so that whoever changes `pipeline.py` can run both loops in milliseconds. The
contract suites check that they behave as the real ones do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepcoder_dist.errors import RunError
from stepcoder_dist.host.files import draft_folder
from stepcoder_dist.records import (
    Completion,
    Int32Array,
    RolloutRequest,
    StepReport,
    TakenUpdate,
    Trajectory,
    WeightSnapshot,
    WeightVersion,
)
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines

EOS = 256


class ByteTokenizer:
    """One token for each byte of UTF-8; the pieces of a character share its span."""

    eos_id = EOS
    eos_ids = frozenset({EOS})
    bos_ids = ()

    def encode(
        self,
        text: str,
        literal: Sequence[tuple[int, int]] = (),
        apart: Sequence[int] = (),
    ) -> tuple[Int32Array, Int32Array]:
        del literal, apart  # no text is a special token here, and no token straddles anything
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for place, character in enumerate(text):
            pieces = character.encode()
            ids.extend(pieces)
            spans.extend([(place, place + 1)] * len(pieces))
        return np.array(ids, dtype=np.int32), np.array(spans, dtype=np.int32).reshape(-1, 2)


class FakeSampler:
    """A sampler whose policy is a function from request to text.

    It represents `width` engines that share their weights: it is its own only weight target.
    """

    def __init__(self, policy: Callable[[RolloutRequest], str], *, width: int = 1) -> None:
        self._policy = policy
        self._width = width
        self._version: WeightVersion = 0
        self._updating = False
        self._resting = False

    @property
    def width(self) -> int:
        return self._width

    async def sample(self, share: Sequence[RolloutRequest]) -> AsyncIterator[Completion]:
        if self._updating:
            raise RunError("the weights are half loaded; push them again")
        if self._resting:
            raise RunError("the engines rest; push weights to wake them")
        for request in share:
            await asyncio.sleep(0)  # lets other shares in between, as an engine's step does
            yield self._complete(request)

    def _complete(self, request: RolloutRequest) -> Completion:
        text = self._policy(request)
        ids, spans = ByteTokenizer().encode(text)
        ended = len(ids) < request.max_new_tokens
        if ended:
            ids = np.append(ids, np.int32(EOS))
            spans = np.append(spans, np.array([[len(text)] * 2], dtype=np.int32), axis=0)
        else:
            ids, spans = ids[: request.max_new_tokens], spans[: request.max_new_tokens]
            text = text[: int(spans[-1, 1])]
        program = assemble(request.given, text)
        return Completion(
            sample_id=request.ticket.sample_id,
            text=text,
            token_ids=ids,
            char_spans=spans,
            logprobs=np.full(len(ids), -1.0, dtype=np.float32),
            program=program,
            token_lines=token_lines(program, text, spans, ended=ended),
            ended=ended,
            oldest_weights=self._version,
            newest_weights=self._version,
            actor="fake",
        )

    async def rest(self) -> None:
        self._resting = True

    async def weight_targets(self) -> Sequence[Any]:
        return [self]

    def refresh_with(self, refresh: Callable[[Sequence[Any]], Awaitable[object]]) -> None:
        """Fakes are never lost."""

    def start_update(self, version: WeightVersion) -> None:
        del version
        self._updating = True

    def finish_update(self, version: WeightVersion, buckets: int) -> None:
        del buckets
        self._version = version
        self._updating = False
        self._resting = False


class FakeLearner:
    """A learner that counts versions and keeps the batches; it changes nothing."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Trajectory]] = []
        self._version: WeightVersion = 0

    async def step(self, batch: Sequence[Trajectory]) -> StepReport:
        self.batches.append(batch)
        self._version += 1
        kept = float(np.mean(np.concatenate([t.carriers for t in batch])))
        return StepReport(version=self._version, skipped=kept == 0.0, metrics={"kept_share": kept})

    can_snapshot = True

    async def snapshot(self) -> WeightSnapshot:
        return WeightSnapshot(version=self._version, buckets=(), probe_logprobs=())

    async def deliver(
        self, snapshot: WeightSnapshot, targets: Sequence[Any], *, deadline_s: float
    ) -> None:
        del deadline_s
        for target in targets:
            target.start_update(snapshot.version)
            target.finish_update(snapshot.version, 0)

    async def publish(self, targets: Sequence[Any], *, deadline_s: float) -> WeightVersion:
        snapshot = await self.snapshot()
        await self.deliver(snapshot, targets, deadline_s=deadline_s)
        return snapshot.version

    def hear_of_updates(self, hear: Callable[[TakenUpdate, WeightVersion], None]) -> None:
        """The targets of fakes measure nothing."""

    async def begin_save(self, folder: str) -> Coroutine[Any, Any, None]:
        return self._write(Path(folder), self._version)

    async def _write(self, folder: Path, version: WeightVersion) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "version").write_text(str(version), encoding="utf-8")

    async def save_hf(self, folder: str) -> None:
        draft = draft_folder.begin(Path(folder))
        (draft / "config.json").write_text(f'{{"version": {self._version}}}', encoding="utf-8")
        draft_folder.commit(draft)

    async def load(self, folder: str) -> WeightVersion:
        self._version = int((Path(folder) / "version").read_text(encoding="utf-8"))
        return self._version
