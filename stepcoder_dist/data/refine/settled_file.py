"""The result of each row so far: a refining that was stopped resumes from this file.

    apps_plus.jsonl.partial
        {"refine": {...}}                         what was refined: source, options, versions
        {"id", "where", "reason", "detail"}       a row that is left out
        {"id", "where", "normalised", "row"}      a row that is kept, as it will be written

The file has one line a row of the source, in its order, so that their number says where to
continue. An incomplete line is cut off at the next start.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from stepcoder_dist.errors import UserError

_ANOTHER = "start again without --resume, or use what it was started with"
_OURS = "refine"

Settled = dict[str, Any]
"""One line of the file: a row that is left out has `reason`, one that is kept has `row`."""


class SettledFile:
    """The file, open and locked; a context manager."""

    def __init__(self, out: Path, about: Mapping[str, Any], *, resume: bool) -> None:
        """Raises `UserError` where it cannot be written, or holds something else to resume."""
        self.path = out.with_name(out.name + ".partial")
        self.count = 0
        """Number of rows that are settled."""
        self.kept_older: Path | None = None
        """Where the rows of an unfinished refining went that is not resumed."""
        self._about = json.loads(json.dumps(about))
        with contextlib.ExitStack() as opened:
            with self._writing():
                self._file = self._locked()
                opened.callback(self._close)
                if not resume and os.fstat(self._file.fileno()).st_size:
                    self._set_aside()
                if os.fstat(self._file.fileno()).st_size:
                    self._resume()
                else:
                    self._append({_OURS: self._about})
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._close()

    def write(self, settled: Settled) -> None:
        """Add a row; the system has it when this returns. Raises `UserError`."""
        with self._writing():
            self._append(settled)
        self.count += 1

    def forget(self, rows: int) -> None:
        """Take the last rows back, to be settled again after `--resume`."""
        keep = self.count - rows
        with self._writing():
            end = next(itertools.islice(self._ends(), keep, None))  # the first line is no row
            os.truncate(self.path, end)
        self.count = keep

    def rows(self) -> Iterator[Settled]:
        """Yield every settled row, from the first. Raises `UserError` for a line that is none."""
        with self.path.open("rb") as file:
            next(file)
            for number, line in enumerate(file, start=2):
                yield self._settled(number, line)

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _settled(self, number: int, line: bytes) -> Settled:
        with contextlib.suppress(ValueError):
            settled = json.loads(line)
            if isinstance(settled, dict) and ("row" in settled) != ("reason" in settled):
                return settled
        raise UserError(
            f"{self.path}:{number}: not what refine writes there; start again without --resume"
        )

    def _close(self) -> None:
        # closing tries again to write what did not fit onto a full disk, which was reported already
        with contextlib.suppress(OSError):
            self._file.close()

    def _locked(self) -> BinaryIO:
        file = self.path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UserError(
                f"{self.path}: another refine is writing it; choose another --out"
            ) from None
        return file

    def _set_aside(self) -> None:
        self.kept_older = self.path.replace(self.path.with_name(self.path.name + ".older"))
        self._file.close()
        self._file = self._locked()

    def _resume(self) -> None:
        """Check the first line, cut off an incomplete last one, count the rows."""
        self._file.seek(0)
        first, whole = self._file.readline(), 0
        if first.endswith(b"\n"):
            self._check(first)
            for end in self._ends():
                whole, self.count = end, self.count + 1
            self.count -= 1
        os.truncate(self.path, whole)
        self._file.seek(0, os.SEEK_END)
        if not whole:
            self._append({_OURS: self._about})

    def _check(self, first: bytes) -> None:
        try:
            then = json.loads(first)[_OURS]
            differing = [k for k in {**then, **self._about} if then.get(k) != self._about.get(k)]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{self.path}: not what refine writes there; remove it") from None
        if differing:
            raise UserError(
                f"{self.path}: was started with another {' and '.join(differing)}; {_ANOTHER}"
            )

    def _ends(self) -> Iterator[int]:
        """Where each complete line ends, in bytes."""
        with self.path.open("rb") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield end

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line).encode("ascii") + b"\n")
        self._file.flush()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}); choose another --out"
            ) from None
