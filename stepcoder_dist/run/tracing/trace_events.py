"""From rows of `trace.jsonl` to events of the Trace Event Format, one row in memory at a time.

Each process of a run is a process of the picture, and what a process does at the same time is in
several threads of it, its *lanes*: no two events of a lane overlap, so that a viewer draws each.

The format: "Trace Event Format" (Google, 2016), complete events ("ph": "X") and metadata ("M").
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stepcoder_dist.loop.tracing.trace_log import Decoded, Judged, Span
from stepcoder_dist.run.tracing.trace_rows import page_of

Event = dict[str, Any]

_ORDER = ("driver", "rollout", "sandbox", "learner", "weights")
"""Processes from top to bottom, by the beginning of their names; others come last."""


def events(rows: Iterable[Mapping[str, Any]]) -> Iterator[Event]:
    """Yield the events of the rows, with the names of a track ahead of its first event.

    Raises `TypeError`, `KeyError`, `ValueError` for a row that is none.
    """
    tracks, clock = _Tracks(), _Clock()
    for row in rows:
        page = page_of(dict(row))
        spans = [*page.spans, *map(_of_decoded, page.decoded), *map(_of_judged, page.judged)]
        spans.sort(key=lambda span: span.begin)
        shift = clock.shift(row["origin"])
        for span in spans:
            begin, end = span.begin + shift, span.end + shift
            if end < begin:
                raise ValueError(f"{span.name} ends before it begins")
            yield from tracks.draw(span, begin, end)
            clock.seen(end)


def _of_decoded(one: Decoded) -> Span:
    oldest, newest = one.oldest_weights, one.newest_weights
    return Span(
        f"{one.actor or 'rollout'}/decoding",
        # viewers colour events by their names
        f"weights {oldest}" if oldest == newest else f"weights {oldest}-{newest}",
        one.begin,
        one.end,
        {
            "sample": one.sample,
            "tokens": one.tokens,
            "waited_ms": (one.begin - one.asked) / 1e3,
        },
    )


def _of_judged(one: Judged) -> Span:
    details = {"sample": one.sample, "queued_ms": (one.begin - one.asked) / 1e3}
    track = f"{one.executor or 'sandbox'}/judging"
    return Span(track, one.outcome, one.begin, one.end, details)


class _Clock:
    """Puts the times of all processes that ran a run on one axis, which begins at 0."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._origin: float | None = None
        self._shift = 0
        self._latest = 0

    def shift(self, origin: float) -> int:
        """Return what to add to the times of a row, in microseconds.

        A resumption never begins before the end of what it resumes, whatever its machine's clock.
        """
        if self._first is None:
            self._first = origin
        if origin != self._origin:
            self._shift = max(round((origin - self._first) * 1e6), self._latest)
            self._origin = origin
        return self._shift

    def seen(self, end: int) -> None:
        self._latest = max(self._latest, end)


class _Tracks:
    """Numbers of processes and threads; memory grows with their number, not with events."""

    def __init__(self) -> None:
        self._processes: dict[str, int] = {}
        self._threads: dict[int, int] = {}
        """By process, how many it has."""
        self._lanes: dict[str, list[tuple[int, int]]] = {}
        """By track, the last end and the number of each lane, sorted."""

    def draw(self, span: Span, begin: int, end: int) -> Iterator[Event]:
        process, _, thread = span.track.partition("/")
        pid = self._processes.get(process)
        if pid is None:
            pid = self._processes[process] = len(self._processes) + 1
            yield _metadata("process_name", pid, 0, name=process)
            yield _metadata("process_sort_index", pid, 0, sort_index=_sort_index(process))
        lanes = self._lanes.setdefault(span.track, [])
        # the lane that was left last: lanes that were left long ago stay free for long events
        free = bisect_right(lanes, begin, key=lambda lane: lane[0])
        if free:
            _, tid = lanes.pop(free - 1)
        else:
            tid = self._threads[pid] = self._threads.get(pid, 0) + 1
            more = f" {len(lanes) + 1}" if lanes else ""
            yield _metadata("thread_name", pid, tid, name=thread + more)
            yield _metadata("thread_sort_index", pid, tid, sort_index=tid)
        lanes.insert(bisect_right(lanes, end, key=lambda lane: lane[0]), (end, tid))
        yield {
            "ph": "X",
            "name": span.name,
            "cat": thread,
            "pid": pid,
            "tid": tid,
            "ts": begin,
            "dur": end - begin,
            "args": span.details,
        }


def _metadata(kind: str, pid: int, tid: int, **arguments: Any) -> Event:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": arguments}


def _sort_index(process: str) -> int:
    place = next((i for i, start in enumerate(_ORDER) if process.startswith(start)), len(_ORDER))
    number = re.search(r"\d+$", process)
    return place * 100_000 + (int(number[0]) if number else 0)
