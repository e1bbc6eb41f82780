"""The file of verdicts that `stepcoder judge` writes, and the checks before one is resumed.

    V.jsonl               one verdict a line, in the order in which they came
    V.jsonl.inputs.json   digests of the problems and programs that they are about

A line that is not complete is cut off at the next start, so each program has its verdict once. The
programs' file may have grown meanwhile; anything else that changed is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepcoder_dist.errors import UserError
from stepcoder_dist.host.files import file_digest, file_lock, json_lines, output_file
from stepcoder_dist.host.files.json_file import parsed

DUPLICATE = "a second program with the id "
"""How the detail of a row begins that repeats an id: it says nothing about the first one."""

_ANOTHER = "continue without --resume into another --out, or with the files it was begun with"


@dataclass(slots=True)
class Standing:
    """The verdicts that a file holds already; faults are no verdicts and do not count."""

    judged: dict[str, Any] = field(default_factory=dict)
    """program_id -> problem_id."""
    refused: Counter[str] = field(default_factory=Counter)
    """Rows that could not be judged, by `refusal`: ids may be missing there or repeat."""
    outcomes: Counter[str] = field(default_factory=Counter)

    def take(self, verdict: dict[str, Any]) -> bool:
        """Count a verdict of the file in; False for a fault."""
        if verdict["outcome"] == "sandbox_fault":
            return False
        self.outcomes[verdict["outcome"]] += 1
        if verdict["outcome"] == "invalid":
            self.refused[refusal(verdict)] += 1
            if str(verdict.get("detail", "")).startswith(DUPLICATE):
                return True
        if isinstance(verdict["program_id"], str):
            self.judged[verdict["program_id"]] = verdict["problem_id"]
        return True

    def holds_refusal(self, verdict: dict[str, Any]) -> bool:
        """Return True once for each such row of the file."""
        key = refusal(verdict)
        found = self.refused[key] > 0
        self.refused[key] -= found
        return found


def refusal(verdict: dict[str, Any]) -> str:
    """Return the identity of a row that cannot be judged."""
    return json.dumps([verdict.get(key) for key in ("program_id", "problem_id", "detail")])


class VerdictFile:
    """Open for writing and locked; use it as a context manager."""

    def __init__(self, out: Path, problems: Path, programs: Path, *, resume: bool) -> None:
        """Raises `UserError` where `out` cannot be written or, to resume, is about other files."""
        if out.is_dir():  # `.` has no name to put others next to
            raise UserError(f"{out}: is a folder; give a file to --out")
        self.path = out
        self.standing = Standing()
        self.kept_older: Path | None = None
        """Where the verdicts were moved that `out` held and that are not continued."""
        self._inputs = out.with_name(out.name + ".inputs.json")
        for source in (problems, programs):
            output_file.refuse_to_replace(source, out)
        with contextlib.ExitStack() as opened:
            with output_file.writing(out, "choose another"):
                regular = out.is_file() or not out.exists()  # else a pipe or a device
                if regular:
                    opened.callback(os.close, self._locked())
                    if resume and out.is_file():
                        self._check_inputs(problems, programs)
                        self._read()
                    elif out.is_file() and out.stat().st_size:
                        self.kept_older = out.replace(out.with_name(out.name + ".older"))
                    self._write_inputs(problems, programs)
                self._file = out.open("ab" if resume and regular else "wb")
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with self._opened, output_file.writing(self.path, "choose another"):
            self._file.close()

    def write(self, verdict: dict[str, Any]) -> None:
        """Add one line; it is the system's when this returns. Raises `UserError`."""
        with output_file.writing(self.path, "choose another"):
            # hundreds a second, perhaps into a pipe: a power cut may cost the last ones
            json_lines.append(self._file, [verdict], sync=False)

    # ── what the verdicts are about ──────────────────────────────────────────────────────────

    def _locked(self) -> int:
        try:
            return file_lock.hold(self._inputs)
        except BlockingIOError:
            raise UserError(f"{self.path}: another judge is writing it; choose another") from None

    def _check_inputs(self, problems: Path, programs: Path) -> None:
        try:
            recorded = parsed(self._inputs.read_bytes() or b"{}")
            for name, path in (("problems", problems), ("programs", programs)):
                then = recorded.get(name)
                if then is None:
                    continue
                grown = name == "programs"
                if _digest(path, then["bytes"] if grown else None) != then:
                    raise UserError(f"{self.path} is about other {name} than {path}; {_ANOTHER}")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{self._inputs}: not what judge writes there; remove it") from None

    def _write_inputs(self, problems: Path, programs: Path) -> None:
        digests = {"problems": _digest(problems), "programs": _digest(programs)}
        # in place: another file would not have the lock
        self._inputs.write_text(json.dumps(digests) + "\n", encoding="ascii")

    # ── what is there already ────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        """Take in every verdict; leave out faults and a torn last line."""
        numbers = itertools.count(1)

        def take(line: bytes) -> bool:
            return self.standing.take(_verdict(line, f"{self.path}:{next(numbers)}"))

        json_lines.cut(self.path, take)


def _verdict(line: bytes, where: str) -> dict[str, Any]:
    try:
        verdict = parsed(line)
        if isinstance(verdict["outcome"], str) and {"program_id", "problem_id"} <= verdict.keys():
            return dict(verdict)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{where}: not a verdict; --resume continues files that judge wrote")


def _digest(path: Path, first_bytes: int | None = None) -> dict[str, Any] | None:
    """Return length and SHA-256 of a file or its beginning; None for a folder."""
    if not path.is_file():
        return None
    return file_digest.of(path, first_bytes)
