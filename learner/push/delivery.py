"""A snapshot to its targets, by the driver: each takes it at its own speed, the learner works on.

    start ── bucket 1 ── bucket 2 ── … ── finish ── probe
                          └ bucket 3 is on its way while 2 is loaded

A target that fails is named in the `WeightPushError` at the end; the others get all of it. One
that has died is passed over and ended: its pool starts another and asks for a push to that.

The driver's half of the learner: no torch here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from ray.exceptions import OutOfMemoryError, RayActorError

from learner.push.arrival import ArrivalCheck
from learner.push.push_round import ABORT_S, end, unreached
from stepcoder_dist.errors import ArrivalError, WeightPushError, last_line
from stepcoder_dist.records import TakenUpdate, WeightSnapshot, WeightVersion

_IN_FLIGHT = 2
"""Buckets at a target at the same time: one is loaded, the next arrives."""


def _nobody(_taken: TakenUpdate, _version: WeightVersion) -> None:
    """Hear of an update."""


class Deliveries:
    """The deliveries of one learner. Two to one target take turns, in the order of the calls."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[Any, asyncio.Lock] = WeakValueDictionary()
        self.hear: Callable[[TakenUpdate, WeightVersion], None] = _nobody
        """Called when a target says that it has committed."""

    async def deliver(
        self,
        snapshot: WeightSnapshot,
        targets: Sequence[Any],
        check: ArrivalCheck | None,
        deadline_s: float,
    ) -> None:
        """Deliver to every target that lives, then compare the probe on each (None: on none).

        `deadline_s` is for each target from its turn to its commit, and again for its probe.
        Raises `WeightPushError`, naming each target that lives and did not commit, else
        `ArrivalError` for one that did and does not answer as the learner does.
        """
        ended = await asyncio.gather(
            *(self._one(snapshot, target, check, deadline_s) for target in targets)
        )
        failures = {place: error for place, error in enumerate(ended) if error is not None}
        unarrived = {i: str(e) for i, e in failures.items() if not isinstance(e, ArrivalError)}
        if unarrived:
            raise WeightPushError(unreached(snapshot.version, targets, unarrived))
        for error in failures.values():
            raise error

    async def _one(
        self, snapshot: WeightSnapshot, target: Any, check: ArrivalCheck | None, deadline_s: float
    ) -> WeightPushError | None:
        async with self._turns.setdefault(target, asyncio.Lock()):
            try:
                update = await _load(snapshot, target, deadline_s)
                if update is not None and update.taken is not None:
                    self.hear(update.taken, snapshot.version)
                if update is not None and check is not None:
                    own = snapshot.probe_logprobs
                    await check.of(target, snapshot.version, own, deadline_s)
            except WeightPushError as error:
                return error
        return None


async def _load(snapshot: WeightSnapshot, target: Any, deadline_s: float) -> _Update | None:
    """Have one target load the snapshot and commit; return None when it has died.

    Raises `WeightPushError`, after the target was asked to abort.
    """
    update = _Update(target)
    try:
        async with asyncio.timeout(deadline_s):
            await update.run(snapshot)
    except (RayActorError, OutOfMemoryError):
        end(target)
        return None
    except TimeoutError:
        why = f"no answer to {update.asked} within weights.deadline_s = {deadline_s:g}"
    except Exception as error:  # noqa: BLE001 (a target's own error, whatever its type)
        why = f"{update.asked}: {last_line(error)}"
    else:
        return update
    await _abort(snapshot, target)
    raise WeightPushError(why)


@dataclass(slots=True, eq=False)
class _Update:
    """The calls of one update of one target."""

    target: Any
    asked: str = ""
    """The method that is waited for."""
    taken: TakenUpdate | None = None
    """What the target answered to its commit."""

    async def run(self, snapshot: WeightSnapshot) -> None:
        await self._answered("start_update", self.target.start_update.remote(snapshot.version))
        loading: deque[Any] = deque()
        for place, bucket in enumerate(snapshot.buckets):
            loading.append(self.target.load_bucket.remote(bucket))
            # the first one alone: where it is refused, nothing of the old weights has changed
            if place == 0 or len(loading) == _IN_FLIGHT:
                await self._answered("load_bucket", loading.popleft())
        for last in loading:
            await self._answered("load_bucket", last)
        finish = self.target.finish_update.remote(snapshot.version, len(snapshot.buckets))
        self.taken = await self._answered("finish_update", finish)

    async def _answered(self, method: str, call: Any) -> Any:
        self.asked = method
        return await call


async def _abort(snapshot: WeightSnapshot, target: Any) -> None:
    """Ask the target to give up an open update; one that does not hear it is not waited for."""
    try:
        async with asyncio.timeout(ABORT_S):
            await target.abort_update.remote(snapshot.version)
    except (RayActorError, OutOfMemoryError):
        end(target)
    except Exception:  # noqa: BLE001, S110 (its first error is the one that is reported)
        pass
