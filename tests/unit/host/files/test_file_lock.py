"""A file system without locks is named, by its mount, wherever a run would lock something."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.doctor import machine_probes
from stepcoder_dist.doctor.examination import Mark
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import file_lock
from stepcoder_dist.run.run_folder import RunFolder


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
def test_a_run_folder_without_locks_is_refused_with_its_mount(tmp_path: Path) -> None:
    tree = {"name": "n", "model": {"path": "m"}, "problems": {"train": "t", "heldout": "h"}}
    named = r"mounted at /\S* has no file locks .*-o flock"
    with pytest.raises(ConfigError, match=named) as refused:
        RunFolder(tmp_path / "run", RunConfig.model_validate(tree))
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("without_locks")
def test_doctor_tries_a_lock_where_runs_are_kept(tmp_path: Path) -> None:
    (finding,) = machine_probes.disk({str(tmp_path): 0.0})
    assert finding.mark is Mark.FAILS
    assert "has no file locks" in finding.seen
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_kind_is_not_taken_for_missing_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"):
        file_lock.hold(tmp_path / "lock")
