"""The source and the sets of a refining as digests: for the manifest, and to check `--resume`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.host.files import file_digest
from stepcoder_dist.problems import ladder
from stepcoder_dist.problems.files import APPS_FILES, rows
from stepcoder_dist.problems.source import data_files, find


def digest(spec: str) -> dict[str, Any]:
    """Return bytes and SHA-256 of a file, or of a folder's files with their names, in order; dates.

    Raises `ProblemError` for what is not there or cannot be read.
    """
    source = find(spec)
    days = {"dates": [source.start, source.end]} if source.start or source.end else {}
    path = source.path
    try:
        if not path.is_dir():
            return file_digest.of(path) | days
        found = hashlib.sha256()
        length = 0
        for file in files(spec):
            found.update(f"{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
            length += file_digest.update(found, file)
    except OSError as error:
        raise ProblemError(f"{path}: cannot be read ({error.strerror}); fix the path") from None
    return {"bytes": length, "sha256": found.hexdigest()} | days


def files(spec: str) -> list[Path]:
    """Return the files that a set is read from. May raise `OSError`."""
    source = find(spec)
    path = source.path
    if not path.is_dir():
        return [path]
    of_apps = sorted(file for name in APPS_FILES for file in path.rglob(name) if file.is_file())
    return of_apps or data_files(path, source.pattern)


def digest_of_set(spec: str) -> dict[str, Any]:
    """Return the digest of a problem set.

    A file, a folder, or `ladder:<split>` (its own digest).
    """
    return {"set": spec} if spec.startswith(ladder.PREFIX) else digest(spec)


def count_rows(spec: str) -> int:
    """Return the number of rows of a source, broken ones included.

    Raises `ProblemError` where it has none, or cannot be read to its end.
    """
    total = sum(1 for _ in rows(spec))
    if not total:
        raise ProblemError(f"{spec}: holds no problems; give a set with at least one")
    return total
