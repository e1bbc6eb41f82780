"""The newest steps of `trace.jsonl` as bars: a row for each pool, as `stepcoder trace` has them.

What many processes of a pool do at once is one bar, which says how many there were at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.loop.tracing.trace_log import Page, Span
from stepcoder_dist.run.tracing import trace_rows

MAX_STEPS = 24
MAX_BYTES = 8_000_000
"""Most bytes of the file that are read, from its end."""
RESOLUTION = 4000
"""Pauses shorter than this part of all shown steps are not drawn."""

ROWS = (
    ("rollouts", "rollouts"),
    ("sandbox", "sandbox"),
    ("learner", "learner"),
    ("weights", "weights"),
    ("rollouts_wait", "rollouts wait"),
    ("learner_waits", "learner waits"),
)
"""Key and label of each row, from top to bottom."""


class Bar(NamedTuple):
    """Something that took time. Times are microseconds of the run's clock."""

    row: str
    kind: str
    """What it is, and so its look: a key of the page's colours."""
    text: str
    begin: int
    end: int


def timeline(path: Path) -> dict[str, Any]:
    """Return what the page draws of a run directory; `steps` is empty where there is no trace.

    Times are milliseconds since the begin of the first step that is shown.
    """
    rows = _newest(path / trace_rows.NAME)
    pages = [trace_rows.page_of(row) for row in rows]
    steps = [
        (int(row["step"]), span.begin, span.end)
        for row, page in zip(rows, pages, strict=True)
        for span in page.spans
        if span.track == "driver/steps"
    ][-MAX_STEPS:]
    if not steps:
        return {"steps": [], "rows": []}
    first, last = steps[0][1], steps[-1][2]
    gap = max((last - first) // RESOLUTION, 1)
    bars = [bar for page in pages for bar in _bars(page) if bar.end > first and bar.begin < last]

    def ms(time: int) -> float:
        return round((min(max(time, first), last) - first) / 1000, 1)

    return {
        "steps": [[step, ms(begin), ms(end)] for step, begin, end in steps],
        "rows": [
            {
                "key": key,
                "label": label,
                "bars": [
                    [ms(bar.begin), ms(bar.end), bar.kind, bar.text, most]
                    for bar, most in sorted(
                        _merged([bar for bar in bars if bar.row == key], gap),
                        key=lambda found: found[0].begin,
                    )
                ],
            }
            for key, label in ROWS
        ],
    }


def _newest(file: Path) -> list[dict[str, Any]]:
    """Return the last rows, those of one process only: the clocks of two have nothing in common."""
    if not file.is_file():
        return []
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - MAX_BYTES))
        lines = opened.read().split(b"\n")
    del lines[-1]  # empty, or a row that is being written
    if size > MAX_BYTES:
        del lines[0]
    rows: list[dict[str, Any]] = []
    for line in reversed(lines):
        try:
            row = parsed(line)
            trace_rows.page_of(row)
            foreign = bool(rows) and row["origin"] != rows[0]["origin"]
        except (ValueError, KeyError, TypeError):
            continue  # of another version, or damaged: `stepcoder trace` says where
        if foreign or len(rows) > MAX_STEPS:
            break
        rows.append(row)
    return rows[::-1]


def _bars(page: Page) -> Iterable[Bar]:
    for decoded in page.decoded:
        yield Bar("rollouts", "decoding", "decoding", decoded.begin, decoded.end)
    for judged in page.judged:
        yield Bar("sandbox", "judging", "judging", judged.begin, judged.end)
    for span in page.spans:
        if (bar := _bar(span)) is not None:
            yield bar


def _bar(span: Span) -> Bar | None:
    process, _, thread = span.track.partition("/")
    row, kind = {
        "learner/steps": ("learner", "learner" if span.name == "step" else "publish"),
        "learner/checkpoints": ("learner", "checkpoint"),
        "weights/pushes": ("weights", "publish"),
        "driver/rollouts wait": ("rollouts_wait", "waiting"),
        "driver/learner waits": ("learner_waits", "waiting"),
    }.get(span.track, ("", ""))
    if thread == "pauses" and process.startswith("rollout"):
        row, kind = "weights", "pause"
    if "checkpoint" in span.name and row == "learner":
        kind = "checkpoint"
    text = "an engine pauses" if kind == "pause" else span.name
    return Bar(row, kind, text, span.begin, span.end) if row else None


def _merged(bars: Sequence[Bar], gap: int) -> Iterable[tuple[Bar, int]]:
    """Join bars of one text that overlap or nearly touch; say how many there were at once."""
    for _, alike in groupby(
        sorted(bars, key=lambda bar: (bar.text, bar.begin)), key=lambda bar: bar.text
    ):
        group: list[Bar] = []
        end = 0
        for bar in alike:
            if group and bar.begin > end + gap:
                yield group[0]._replace(end=end), _most(group)
                group = []
            end = max(end, bar.end) if group else bar.end
            group.append(bar)
        yield group[0]._replace(end=end), _most(group)


def _most(bars: Sequence[Bar]) -> int:
    """Return how many of the bars there are at once, at most."""
    changes = sorted([(bar.begin, 1) for bar in bars] + [(bar.end, -1) for bar in bars])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most
