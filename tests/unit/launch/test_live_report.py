"""The page of a run that lives: made beside its steps, and not while one is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray")

from stepcoder_dist.host.files import file_lock
from stepcoder_dist.launch.live_report import LiveReport


def test_a_step_begins_a_page_when_it_is_time_and_a_page_ends_with_the_run(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    lock = file_lock.hold(tmp_path / ".lock")
    with os.fdopen(lock):
        sink = LiveReport(tmp_path, 1e-9)
        sink.write(1, {})
        making = sink._making
        assert making is not None
        sink.write(2, {})
        assert sink._making is making  # one at a time
        assert making.wait(120) == 0
        assert '"live":15' in (tmp_path / "report.html").read_text()
        sink.write(3, {})
        assert sink._making is None  # the first took its time, and so the next one waits
        sink.close()
        second = LiveReport(tmp_path, 1e-9)
        second.write(4, {})
        second.close()
        assert second._making is not None
        assert second._making.returncode is not None


def test_none_is_made_where_none_is_asked_for_or_too_early(tmp_path: Path):
    for every_s in (0, 1e6):
        sink = LiveReport(tmp_path, every_s)
        sink.write(1, {})
        sink.close()
    assert list(tmp_path.iterdir()) == []
