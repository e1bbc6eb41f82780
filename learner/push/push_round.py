"""One push to many rollout actors, as rank 0 sees it: who still takes part, who failed and why.

A target that has died is no failure of the push: whoever owns it starts another one, and has the
weights pushed to that. One that answers with an error, or not in time, is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError

from stepcoder_dist.errors import last_line
from stepcoder_dist.records import WeightVersion

ABORT_S = 10.0
"""How long a failed push waits for its targets to hear of it."""


class PushRound:
    """Rank 0's side of one push: the targets that still take part, and why the others do not."""

    def __init__(self, version: WeightVersion, targets: Sequence[Any], deadline_s: float) -> None:
        self._version = version
        self._deadline_s = deadline_s
        self._ends = time.monotonic() + deadline_s
        self._all = list(targets)
        self._alive = list(range(len(targets)))
        self._failures: dict[int, str] = {}
        self._lost: dict[int, str] = {}
        self._committed: list[int] = []

    @property
    def left_s(self) -> float:
        """Seconds to the deadline."""
        return max(0.0, self._ends - time.monotonic())

    @property
    def alive(self) -> list[Any]:
        """The targets that still take part."""
        return [self._all[index] for index in self._alive]

    @property
    def gave_up(self) -> str:
        """The reason to stop, empty while a target is left."""
        return "" if self._alive else "no target is left"

    def open(self) -> None:
        """Have every target finish what it decodes and wait for the weights."""
        self.ask("start_update", self._version)

    def ask(self, method: str, *arguments: Any) -> None:
        """Call a method of every live target together; drop those that fail or are late."""
        calls = {getattr(self._all[i], method).remote(*arguments): i for i in self._alive}
        if not calls:
            return
        done, late = ray.wait(list(calls), num_returns=len(calls), timeout=self.left_s)
        for reference in late:
            self._failures[calls[reference]] = (
                f"no answer to {method} within weights.deadline_s = {self._deadline_s:g}"
            )
        for reference in done:
            try:
                ray.get(reference)
            except (RayActorError, OutOfMemoryError) as error:
                self._lost[calls[reference]] = f"{method}: {last_line(error)}"
                end(self._all[calls[reference]])
            except Exception as error:  # noqa: BLE001 (a target's own error, whatever its type)
                self._failures[calls[reference]] = f"{method}: {last_line(error)}"
        dropped = self._failures.keys() | self._lost.keys()
        self._alive = [i for i in self._alive if i not in dropped]

    def commit(self, buckets: int) -> None:
        """Have every live target take the version into use."""
        self.ask("finish_update", self._version, buckets)
        self._committed = list(self._alive)

    def abort_open(self) -> None:
        """Abort the update at all that did not commit; a dead one need not hear it."""
        open_ones = [t for i, t in enumerate(self._all) if i not in self._committed]
        aborts = [target.abort_update.remote(self._version) for target in open_ones]
        if aborts:
            ray.wait(aborts, num_returns=len(aborts), timeout=ABORT_S)

    def report(self, *, lost_too: bool = False) -> str:
        """Empty when no target failed; else each one that did, and why.

        `lost_too`: a target that has died counts as one that failed.
        """
        return unreached(
            self._version, self._all, self._failures | (self._lost if lost_too else {})
        )


def unreached(version: WeightVersion, targets: Sequence[Any], failures: dict[int, str]) -> str:
    """Name the targets that a push did not reach, each with the reason; empty without any."""
    if not failures:
        return ""
    named = "; ".join(f"target {i} {targets[i]}: {why}" for i, why in failures.items())
    return (
        f"version {version} did not reach {len(failures)} of {len(targets)} rollout actors: {named}"
    )


def end(lost: Any) -> None:
    """End an actor that Ray cannot reach, so that none that is only cut off returns unchecked."""
    ray.kill(lost)
