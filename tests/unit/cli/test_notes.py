"""What an error carries besides its one line is printed below it."""

from __future__ import annotations

import pytest

from stepcoder_dist.cli import commands
from stepcoder_dist.errors import RunError


def test_the_notes_of_an_error_and_of_its_cause_are_printed_below_it_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(**_: object) -> None:
        cause = RunError("the rank died")
        cause.add_note("the last lines of process 7:\n  CUDA error")
        error = RunError("the run ended")
        error.add_note("the last lines of process 7:\n  CUDA error")
        raise error from cause

    monkeypatch.setattr(commands, "app", fail)
    assert commands.run([]) == 1
    assert capsys.readouterr().err == (
        "stepcoder: the run ended\n"
        "stepcoder: the last lines of process 7:\n"
        "stepcoder:   CUDA error\n"
    )
