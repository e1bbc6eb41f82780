"""Temporary folders: whose they are, and when they go."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stepcoder_dist.host import scratch


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def made_by_a_process_that_was_killed(temporary: Path) -> Path:
    code = (
        "import os, signal; from stepcoder_dist.host import scratch; "
        "print(scratch.make('test'), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return Path(made.stdout.strip())


def test_a_killed_process_s_folder_goes_when_the_next_one_is_made(temporary: Path):
    orphan = made_by_a_process_that_was_killed(temporary)
    (orphan / "vllm_dist_123").write_text("left")
    mine = scratch.make("test")
    assert not orphan.exists()
    assert mine.is_dir()
    assert mine.stat().st_mode & 0o077 == 0


def test_folders_of_the_living_and_of_others_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    mine = scratch.make("test")
    foreign = temporary / "stepcoder-notes"
    foreign.mkdir()
    elsewhere = made_by_a_process_that_was_killed(temporary)
    with monkeypatch.context() as patched:
        patched.setattr(socket, "gethostname", lambda: "another-host")
        assert scratch.sweep() == 0
    assert mine.is_dir()
    assert foreign.is_dir()
    assert scratch.sweep() == 1
    assert not elsewhere.exists()


@pytest.mark.usefixtures("temporary")
def test_a_name_leaves_room_for_a_socket():
    # Unix sockets have at most 107 characters; vLLM's are called by a UUID
    assert len(f"/tmp/{scratch.make('rollout').name}/{'x' * 36}") <= 107
