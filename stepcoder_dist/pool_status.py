"""How a pool of processes is now, and what a pool has to offer to be resized while a run lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from stepcoder_dist.records import WeightVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of a pool."""

    name: str
    state: str
    """`ready`, `starting`, `awaiting weights`, `lost`, `failed`, `leaving`."""
    load: int
    """Samples or programs sent there and not answered."""
    version: WeightVersion | None = None
    """The weights of a rollout actor, where it answers."""
    now: str = ""
    """What it does: `decoding 16`, `taking weights`, `judging 3`, `idle`; empty where it is not
    known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """One pool."""

    wanted: int
    """How many processes it shall have."""
    members: tuple[Member, ...]
    waiting: int = 0
    """Samples or programs that no process has yet."""

    def count(self, *states: str) -> int:
        """Return how many members are in one of these states."""
        return sum(member.state in states for member in self.members)

    @property
    def load(self) -> int:
        """Samples or programs that the members have."""
        return sum(member.load for member in self.members)


class ElasticPool(Protocol):
    """A pool that can be resized while it works.

    The last call counts: it takes away what an earlier one is still starting, which then raises.
    """

    @property
    def number(self) -> int:
        """How many processes work."""
        ...

    async def resize(self, number: int) -> None:
        """Have so many processes; return when those that come work and those that go are gone.

        What a process that goes has under way is finished, there or elsewhere. Raises `RunError`
        for one that cannot be brought up: the pool keeps the others.
        """
        ...

    async def status(self) -> PoolStatus:
        """Return how the pool is now."""
        ...
