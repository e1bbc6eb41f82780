"""What happened to samples since the account was last taken: the source of the run's ledger.

The book enters every plan and every fate here, in order. `run/account/ledger.py` takes them with
the state that a checkpoint of the same moment holds, so that the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stepcoder_dist.records import Ticket


@dataclass(frozen=True, slots=True)
class Ending:
    """One sample that has its fate."""

    sample_id: str
    fate: str
    why: str = ""
    """The reason for a rejection: `stale`, …"""


@dataclass(slots=True)
class Page:
    """The samples that were planned and those that ended, between two takings."""

    planned: list[Ticket] = field(default_factory=list)
    ended: list[Ending] = field(default_factory=list)


class Account:
    """Collects a page at a time."""

    def __init__(self) -> None:
        self._page = Page()

    def plan(self, ticket: Ticket) -> None:
        self._page.planned.append(ticket)

    def end(self, sample_id: str, fate: str, why: str = "") -> None:
        self._page.ended.append(Ending(sample_id, fate, why))

    def take(self) -> Page:
        """Return what happened since the last call, and begin the next page."""
        page, self._page = self._page, Page()
        return page
