"""A file's digest is remembered for as long as the file is the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from stepcoder_dist.host.files import file_digest, known_digests


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in order."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[Path] = []
    real = file_digest.of

    def counted(file: Path) -> dict[str, object]:
        seen.append(file)
        return real(file)

    monkeypatch.setattr(file_digest, "of", counted)
    return seen


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = known_digests.of(file)
    assert first == hashlib.sha256(b"one").hexdigest()
    assert known_digests.of(file) == first
    assert len(reads) == 1

    before = file.stat()
    file.write_bytes(b"two")  # as long, and dated back
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known_digests.of(file) == hashlib.sha256(b"two").hexdigest()


def test_a_damaged_memory_or_one_that_cannot_be_written_only_costs_a_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]
) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    expected = known_digests.of(file)
    (memory,) = (tmp_path / "cache" / "stepcoder" / "digests").iterdir()
    memory.write_text("{")
    assert known_digests.of(file) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # no folder
    assert known_digests.of(file) == expected
    assert len(reads) == 3
