"""One place in the pool of rollout actors, and how far its process has come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any


class Place(Enum):
    """The state of a slot. `slot_keeper.py` draws the transitions."""

    LOST = auto()
    STARTING = auto()
    REFRESHING = auto()
    AWAITING_WEIGHTS = auto()
    READY = auto()
    FAILED = auto()

    @property
    def words(self) -> str:
        """The state for a reader."""
        return self.name.lower().replace("_", " ")


WAKING = (Place.STARTING, Place.REFRESHING)
"""The engine takes memory, or is about to."""

UP = (Place.REFRESHING, Place.AWAITING_WEIGHTS, Place.READY)
"""The process answers."""


@dataclass(eq=False)
class Slot:
    """One place in the pool; the process that holds it may change."""

    name: str
    index: int
    """Its place among the processes of the pool, which Ray's placement is asked for."""
    handle: Any = None
    place: Place = Place.LOST
    load: int = 0
    """Samples routed here and not finished."""
    keeper: asyncio.Task[None] | None = None
    """Brings the actor (back) to READY."""
    watcher: asyncio.Task[None] | None = None
    """Notices the end of a process of which nobody asks anything."""
    failure: str = ""
    words: str = ""
    """The last words of a process that did not start."""
    joined: bool = False
    """It was ready once: steps are cut into shares for it."""
    leaving: bool = False
    """It takes no more shares, and is ended when those that it has are done."""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is leaving and has no share left."""

    @property
    def takes_work(self) -> bool:
        return self.place is Place.READY and not self.leaving

    def release(self, samples: int) -> None:
        """Count samples that are finished or given up."""
        self.load -= samples
        if self.leaving and not self.load:
            self.idle.set()
