"""`trace.jsonl`: what happened when in a run, a row for each step, for `stepcoder trace`.

    {"step": 3, "origin": 1764508587.1, "spans": […], "decoded": […], "judged": […]}

The lists hold what ended since the row before, as lists of the fields of `Span`, `Decoded` and
`Judged` (`loop/tracing/trace_log.py`): about 200 bytes a sample. A resumed run cuts the rows of the
steps that it does again. What is after the last step has the number of the step that would follow.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from stepcoder_dist.host.files import json_lines
from stepcoder_dist.host.files.json_file import is_figure
from stepcoder_dist.loop.tracing.trace_log import Decoded, Judged, Page, Span, TraceLog
from stepcoder_dist.records import WeightVersion

NAME = "trace.jsonl"

logger = logging.getLogger(__name__)


class TraceFile:
    """Appends the pages of a log. A file that cannot be written ends the trace, not the run."""

    def __init__(self, folder: Path, log: TraceLog) -> None:
        self._path = folder / NAME
        self._log = log
        self._last = 0
        self._broken = not log.on

    def write(self, step: WeightVersion) -> None:
        """Write what ended up to the record of a step."""
        self._last = step
        self._append(step, self._log.take(step))

    def end(self) -> None:
        """Write what ended after the last step."""
        page = self._log.take(None)
        if self._last:  # else it would be the only row, in a folder that holds no run yet
            self._append(self._last + 1, page)

    def _append(self, step: WeightVersion, page: Page) -> None:
        if self._broken:
            return
        row = {
            "step": step,
            "origin": self._log.origin,
            "spans": page.spans,
            "decoded": page.decoded,
            "judged": page.judged,
        }
        try:
            with self._path.open("ab") as file:
                json_lines.append(file, [row], sync=False)
        except OSError as error:
            self._broken = True  # another row would join the torn one
            logger.warning("%s: no more rows are written: %s", self._path, error)
            self._log.on = False


def page_of(row: dict[str, Any]) -> Page:
    """Return what a row holds. Raises `TypeError`, `KeyError` for what is no such row."""
    page = Page(
        spans=[Span(*each) for each in row["spans"]],
        decoded=[Decoded(*each) for each in row["decoded"]],
        judged=[Judged(*each) for each in row["judged"]],
    )
    if not isinstance(row["step"], int) or not is_figure(row["origin"]):
        raise TypeError("step or origin is no number")
    for span in page.spans:
        _check((span.track, span.name), (span.begin, span.end))
    for done in page.decoded:
        _check((done.actor,), (done.asked, done.begin, done.end))
    for judged in page.judged:
        _check((judged.executor, judged.outcome), (judged.asked, judged.begin, judged.end))
    return page


def _check(names: tuple[Any, ...], times: tuple[Any, ...]) -> None:
    """Raise `TypeError` where a name of an event is no text, or a time no number."""
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name of an event is no text")
    if not all(isinstance(time, int) and is_figure(time) for time in times):
        raise TypeError("a time of an event is no number of microseconds")
