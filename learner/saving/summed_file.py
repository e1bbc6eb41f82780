"""A file whose size and CRC-32 are known when it is written: nobody has to read it for them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class SummedFile:
    """Passes bytes on to a file and sums them. `torch.save` writes to it front to back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0
        self._checksum = 0
        self.failure: OSError | None = None
        """What the file system said. `torch.save` reports its own state instead."""

    @property
    def fingerprint(self) -> list[int]:
        """Bytes and CRC-32 of what was written, as the manifest has them."""
        return [self._size, self._checksum]

    def write(self, data: Any) -> int:
        """Write all of a buffer; return its bytes. Raises `OSError`."""
        try:
            self._file.write(data)
        except OSError as error:
            self.failure = error
            raise
        size = memoryview(data).nbytes
        self._size += size
        self._checksum = zlib.crc32(data, self._checksum)
        return size

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def created(path: Path) -> Iterator[SummedFile]:
    """Make a file; at the end of the block it is on disk. Raises `OSError`."""
    with path.open("wb") as file:
        yield SummedFile(file)
        file.flush()
        os.fsync(file.fileno())
