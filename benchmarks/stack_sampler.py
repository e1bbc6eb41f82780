"""A profile by stacks, at equal distances of processor time."""

from __future__ import annotations

import signal
from collections import Counter
from types import CodeType, FrameType


class StackSampler:
    """Notes the stack each time the process has used another millisecond of its processors.

    Unlike a profiler that hears of every call it costs next to nothing, so that what is called
    often does not look dearer than it is. What a function of C takes counts for its caller.
    """

    def __init__(self) -> None:
        self.own: Counter[CodeType] = Counter()
        self.total: Counter[CodeType] = Counter()
        self.number = 0

    def enable(self) -> None:
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)

    def disable(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _note(self, _signal: int, frame: FrameType | None) -> None:
        self.number += 1
        seen = set()
        if frame is not None:
            self.own[frame.f_code] += 1
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self.total.update(seen)
