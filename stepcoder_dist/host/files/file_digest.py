"""Digests of files, read piece by piece, whatever their size."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def update(digest: Any, file: Path, first_bytes: int | None = None) -> int:
    """Add a file, or its beginning, to a digest of `hashlib`; return how many bytes that were.

    Raises `OSError`.
    """
    length = 0
    with file.open("rb") as stream:
        while first_bytes is None or length < first_bytes:
            most = _CHUNK_BYTES if first_bytes is None else min(_CHUNK_BYTES, first_bytes - length)
            chunk = stream.read(most)
            if not chunk:
                break
            digest.update(chunk)
            length += len(chunk)
    return length


def of(file: Path, first_bytes: int | None = None) -> dict[str, Any]:
    """Return bytes and SHA-256 of a file, or of its beginning, as JSON. Raises `OSError`."""
    digest = hashlib.sha256()
    length = update(digest, file, first_bytes)
    return {"bytes": length, "sha256": digest.hexdigest()}
