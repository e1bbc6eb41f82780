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
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepcoder_dist.errors import UserError
from stepcoder_dist.host.files import file_lock, json_lines, output_file
from stepcoder_dist.host.files.json_file import parsed

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
        with output_file.writing(self.path, "choose another --out"):
            self._lock = self._locked()
            try:
                if not resume and self.path.stat().st_size:
                    self._set_aside()
                self._resume()
            except BaseException:
                os.close(self._lock)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def write(self, settled: Settled) -> None:
        """Add a row; the system has it when this returns. Raises `UserError`."""
        with output_file.writing(self.path, "choose another --out"):
            json_lines.append_rows(self.path, [settled])
        self.count += 1

    def forget(self, rows: int) -> None:
        """Take the last rows back, to be settled again after `--resume`."""
        numbers = itertools.count()  # 0 is the first line, which is no row
        with output_file.writing(self.path, "choose another --out"):
            left = json_lines.cut(self.path, lambda _: next(numbers) <= self.count - rows)
        self.count = left - 1

    def rows(self) -> Iterator[Settled]:
        """Yield every settled row, from the first. Raises `UserError` for a line that is none."""
        lines = enumerate(json_lines.complete(self.path), start=1)
        next(lines)
        for number, line in lines:
            yield self._settled(number, line)

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _settled(self, number: int, line: bytes) -> Settled:
        with contextlib.suppress(ValueError):
            settled = parsed(line)
            if isinstance(settled, dict) and ("row" in settled) != ("reason" in settled):
                return settled
        raise UserError(
            f"{self.path}:{number}: not what refine writes there; start again without --resume"
        )

    def _locked(self) -> int:
        try:
            return file_lock.hold(self.path)
        except BlockingIOError:
            raise UserError(
                f"{self.path}: another refine is writing it; choose another --out"
            ) from None

    def _set_aside(self) -> None:
        self.kept_older = self.path.replace(self.path.with_name(self.path.name + ".older"))
        os.close(self._lock)
        self._lock = self._locked()

    def _resume(self) -> None:
        """Check the first line, or write it; cut off an incomplete last one; count the rows."""
        first = next(json_lines.complete(self.path), None)
        if first is not None:
            self._check(first)
        lines = json_lines.cut(self.path)
        if not lines:
            json_lines.append_rows(self.path, [{_OURS: self._about}])
        self.count = max(lines - 1, 0)

    def _check(self, first: bytes) -> None:
        try:
            then = parsed(first)[_OURS]
            differing = [k for k in {**then, **self._about} if then.get(k) != self._about.get(k)]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{self.path}: not what refine writes there; remove it") from None
        if differing:
            raise UserError(
                f"{self.path}: was started with another {' and '.join(differing)}; {_ANOTHER}"
            )
