"""Runs beside each other, and runs that wait until the others have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sandbox.quiet_time import QuietTime


class Run(threading.Thread):
    """Begins when it may, ends when it is told to."""

    def __init__(self, enter: Callable) -> None:
        super().__init__(daemon=True)
        self.enter = enter
        self.begun, self.told = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self.enter():
            self.begun.set()
            assert self.told.wait(30)

    def end(self) -> None:
        self.told.set()
        self.join(30)


def asked(time: QuietTime) -> None:
    """Return when a run waits for quiet."""
    with time._changed:
        while not time._asked:
            time._changed.wait(0.01)


def test_a_run_in_quiet_begins_after_those_under_way_and_before_those_that_come():
    time = QuietTime()
    first, second = Run(time.busy), Run(time.busy)
    assert first.begun.wait(30)
    assert second.begun.wait(30)  # they run beside each other
    quiet = Run(lambda: time.quiet(30))
    asked(time)
    late = Run(time.busy)
    first.end()
    assert not quiet.begun.wait(0.05)
    second.end()
    assert quiet.begun.wait(30)
    assert not late.begun.is_set()
    quiet.end()
    assert late.begun.wait(30)
    late.end()


def test_no_more_runs_are_in_quiet_than_disturb_each_other(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    time = QuietTime()
    runs = [Run(lambda: time.quiet(30)) for _ in range(5)]
    for _ in range(5):
        while sum(r.begun.is_set() and not r.told.is_set() for r in runs) < min(
            2, sum(not r.told.is_set() for r in runs)
        ):
            threading.Event().wait(0.001)
        assert time._quiet <= 2
        next(r for r in runs if r.begun.is_set() and not r.told.is_set()).end()
    assert (time._quiet, time._asked) == (0, 0)


def test_a_run_under_way_without_end_does_not_keep_the_quiet_ones_waiting():
    time = QuietTime()
    endless = Run(time.busy)
    assert endless.begun.wait(30)
    quiet = Run(lambda: time.quiet(0.01))
    assert quiet.begun.wait(30)
    quiet.end()
    endless.end()
    last = Run(time.busy)
    assert last.begun.wait(30)
    last.end()


def test_patience_with_what_is_under_way_lets_no_more_of_them_run_at_a_time(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    time = QuietTime()
    first = Run(lambda: time.quiet(0.0))
    assert first.begun.wait(30)
    second = Run(lambda: time.quiet(0.0))
    assert not second.begun.wait(0.1)
    first.end()
    assert second.begun.wait(30)
    second.end()
