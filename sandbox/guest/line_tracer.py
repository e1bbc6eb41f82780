"""Marking executed lines in shared memory.

`lines` is a MAP_SHARED mapping that the zygote made before the fork, one byte a line and test. A
byte that was set stays set after SIGKILL, a segmentation fault or `os._exit`. Forked grandchildren
set the same bytes. Nothing has to be written at the end.

Python 3.12 and newer: `sys.monitoring` LINE events that are switched off after the first hit, on
the program's own code objects only. Python 3.11: `sys.settrace`, several times slower.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

_TOOL = 1  # sys.monitoring.COVERAGE_ID
_NAME = "stepcoder"
_monitoring: Any = getattr(sys, "monitoring", None)


def code_objects(code: CodeType) -> Iterator[CodeType]:
    """Yield every code object of a program, nested ones included."""
    waiting = [code]
    while waiting:
        code = waiting.pop()
        yield code
        waiting.extend(c for c in code.co_consts if isinstance(c, CodeType))


def lines_with_code(code: CodeType, lines: int) -> frozenset[int]:
    """Return the physical lines 1…`lines` that have byte code."""
    found = {line for c in code_objects(code) for _, _, line in c.co_lines()}
    return frozenset(line for line in found if line and line <= lines)


class LineTracer:
    """The tracer that marks the lines of one program, test by test."""

    def __init__(self, code: CodeType, lines: memoryview, stride: int) -> None:
        self._codes = list(code_objects(code))
        self._lines = lines
        self._stride = stride
        self._base = 0
        self._callback: Any = None
        if _monitoring is not None:
            self._monitor(_monitoring.DISABLE)

    def begin(self, test: int) -> None:
        """Mark lines for this test from here; all lines are traced again."""
        self._base = test * self._stride
        if _monitoring is not None:
            _monitoring.restart_events()
        else:
            self._set_trace(self._base)

    def end(self) -> bool:
        """Stop marking for this test; return False where the tracer was changed meanwhile."""
        if _monitoring is None:
            intact = sys.gettrace() is self._callback
            sys.settrace(None)
            threading.settrace(None)
            return intact
        if _monitoring.get_tool(_TOOL) != _NAME:
            return False
        line = _monitoring.events.LINE
        armed = all(_monitoring.get_local_events(_TOOL, code) == line for code in self._codes)
        before = _monitoring.register_callback(_TOOL, line, self._callback)
        return armed and before is self._callback

    def _monitor(self, disable: object) -> None:
        lines, limit = self._lines, self._stride

        def on_line(_code: CodeType, line: int) -> object:
            if line < limit:
                lines[self._base + line] = 1
            return disable

        self._callback = on_line
        _monitoring.use_tool_id(_TOOL, _NAME)
        _monitoring.register_callback(_TOOL, _monitoring.events.LINE, on_line)
        for code in self._codes:
            _monitoring.set_local_events(_TOOL, code, _monitoring.events.LINE)

    def _set_trace(self, base: int) -> None:
        lines, limit, name = self._lines, self._stride, self._codes[0].co_filename

        def on_line(frame: FrameType, event: str, _arg: object) -> Any:
            if event == "line" and 0 < frame.f_lineno < limit:
                lines[base + frame.f_lineno] = 1
            return on_line

        def on_call(frame: FrameType, _event: str, _arg: object) -> Any:
            return on_line if frame.f_code.co_filename == name else None

        self._callback = on_call
        threading.settrace(on_call)
        sys.settrace(on_call)
