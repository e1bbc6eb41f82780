"""A disk that takes nothing: every command ends with one line that names the place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stepcoder_dist.cli import commands
from stepcoder_dist.report import sample_text

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_output_that_a_full_disk_does_not_take_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def listed(_run_dir: Path) -> list[str]:
        with FULL.open("wb", buffering=0) as full:
            full.write(b"x")
        return []

    monkeypatch.setattr(sample_text, "listed", listed)
    assert commands.run(["samples", "runs/any"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("stepcoder: ")
    assert told.count("\n") == 1
    assert os.strerror(errno.ENOSPC) in told


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch):
    def listed(_run_dir: Path) -> list[str]:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(sample_text, "listed", listed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        commands.run(["samples", "runs/any"])
