"""SHA-256 of large files, remembered on this machine for as long as the files are the same.

A model of 15 GB is read once a machine, not once a start. The memory is a file in the user's cache
folder (`XDG_CACHE_HOME`, else `~/.cache`): the model's own folder may be read-only, or shared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import atomic_file, file_digest
from stepcoder_dist.host.files.json_file import read_object


def of(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits.

    It is read again when its size, its inode or a time of it has changed. Raises `OSError`.
    """
    real = file.resolve(strict=True)
    status = real.stat()
    # ctime too: nobody sets it back, as `rsync --times` does with mtime
    stamp = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    memory = _folder() / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.json"
    with contextlib.suppress(ConfigError):  # a damaged memory is none
        known = read_object(memory)
        if known.get("stamp") == stamp:
            return str(known["sha256"])
    digest: str = file_digest.of(real)["sha256"]
    with contextlib.suppress(OSError):  # a home that cannot be written: read again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        entry = {"file": str(real), "stamp": stamp, "sha256": digest}
        atomic_file.write_text(memory, json.dumps(entry))
    return digest


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "stepcoder" / "digests"
