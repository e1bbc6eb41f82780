"""Files of JSON lines that grow: rows are appended, and what a crash left is cut off.

A row counts when its line has its end. A line without one was being written when its writer died;
whoever opens the file to continue it cuts first, so that the next row does not join the torn one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from stepcoder_dist.host.files import atomic_file
from stepcoder_dist.host.files.json_file import parsed

_BLOCK_BYTES = 2**20


def append(file: BinaryIO, rows: Iterable[Mapping[str, Any]], *, sync: bool = True) -> None:
    """Add rows; they survive this process when it returns, and with `sync` the machine too.

    Raises `OSError`.
    """
    file.write(b"".join(json.dumps(row).encode("ascii") + b"\n" for row in rows))
    file.flush()
    if sync:
        os.fsync(file.fileno())


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file that is made if need be, as `append` does."""
    with path.open("ab") as file:
        append(file, rows)


def complete(path: Path) -> Iterator[bytes]:
    """Yield the lines that have their end, one at a time; none of a file that is not there."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line


def rows(path: Path) -> Iterator[Any]:
    """Return the values of all complete lines. Raises `ValueError` for one that is no JSON."""
    return map(parsed, complete(path))


def cut(path: Path, keep: Callable[[bytes], bool] = lambda _line: True) -> int:
    """Leave the complete lines for which `keep` is true, which is asked once for each, in order.

    Return how many are left. A crash leaves the file as it was or cut. It stays the same file, with
    its locks, where only its end goes. Raises `OSError`.
    """
    if not path.exists():
        return 0
    kept = [(0, 0)]  # ranges of bytes
    at = count = 0
    for line in complete(path):
        end = at + len(line)
        if keep(line):
            count += 1
            first, last = kept[-1]
            if last == at:
                kept[-1] = (first, end)
            else:
                kept.append((at, end))
        at = end
    if len(kept) == 1:
        os.truncate(path, kept[0][1])
    else:
        _keep_ranges(path, kept)
    return count


def cut_after(path: Path, step: int) -> None:
    """Drop the rows of later steps, which a resumed run will do again, and what is no such row."""
    cut(path, lambda line: _is_until(line, step))


def _is_until(line: bytes, step: int) -> bool:
    try:
        return int(parsed(line)["step"]) <= step
    except (ValueError, KeyError, TypeError, OverflowError):
        return False


def _keep_ranges(path: Path, ranges: Iterable[tuple[int, int]]) -> None:
    with path.open("rb") as file, atomic_file.written_bytes(path) as draft:
        for start, end in ranges:
            file.seek(start)
            left = end - start
            while left:
                left -= draft.write(file.read(min(_BLOCK_BYTES, left)))
