"""Reading the rows of a problem set one at a time: JSONL, a JSON list, tables, or an APPS folder.

Files may be gzipped. Only the present row is held, so the size of a file does not matter. A row
that cannot be read is yielded as a `ProblemError` in its place, and reading continues where the
format allows it.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.problems import long_integers, tables
from stepcoder_dist.problems.source import DATA, Source, data_files, find

FIX = "fix the row or pass --max-bad-share (in a run file: problems.max_bad_share)"
_CHUNK_CHARS = 1 << 16
_BLANK = re.compile("[ \t\r\n\ufeff]*")
_BROKEN_FILE = (OSError, EOFError, zlib.error)
"""Errors of a file that cannot be read, or of a gzip stream that is damaged or cut short."""

APPS_FILES = (
    "question.txt",
    "input_output.json",
    "solutions.json",
    "starter_code.py",
    "metadata.json",
)
"""The files of a problem's folder that are read."""

Row = tuple[str, Any]
"""A row's place (`problems.jsonl:17`) and its value."""


def rows(spec: str | Path) -> Iterator[Row | ProblemError]:
    """Yield every row with its place, and a broken one as an error; `source.find` reads `spec`.

    Raises `ProblemError` where nothing can be read at all, or where the next row cannot be found.
    """
    source = find(spec)
    long_integers.allow()
    for item in _of_place(source):
        if isinstance(item, ProblemError):
            yield item
            continue
        try:
            if source.holds(item[1], item[0]):
                yield item
        except ProblemError as error:
            yield ProblemError(f"{error}; {FIX}")


def _of_place(source: Source) -> Iterator[Row | ProblemError]:
    path = source.path
    if path.is_dir():
        if not source.pattern and (found := _problem_folders(path)):
            yield from _apps_folders(found)
            return
        files = data_files(path, source.pattern)
        if not files:
            raise ProblemError(
                f"{path / source.pattern}: holds neither problem folders (0000/question.txt, ...) "
                f"nor data files ({', '.join(DATA)}); give the folder above them"
            )
        number = 0
        for file in files:
            for item in _of_file(file):
                number += 1
                if isinstance(item, ProblemError) or len(files) == 1:
                    yield item
                else:  # a row without an id gets this number: those in the files repeat
                    yield f"{item[0]}, row {number}", item[1]
        return
    if str(path).startswith("ladder:"):
        raise ProblemError(f"{path}: this command reads files only; give it a problem set of yours")
    if not path.is_file():
        raise ProblemError(
            f"{path}: no such file or folder; give a JSON list, a JSONL or parquet file, a folder, "
            "hf://datasets/NAME or ladder:<split>"
        )
    yield from _of_file(path)


def _of_file(path: Path) -> Iterator[Row | ProblemError]:
    try:
        if path.suffix in tables.ENDINGS:
            for row in tables.rows(path):
                yield ProblemError(f"{row}; {FIX}") if isinstance(row, ProblemError) else row
            return
        with _open(path) as file:
            opening = _first_character(file)
        with _open(path) as file:
            yield from _list_items(path, file) if opening == b"[" else _lines(path, file)
    except _BROKEN_FILE as error:
        raise ProblemError(f"{path}: cannot be read ({error}); restore the file") from None


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if zipped:
        return gzip.GzipFile(path)
    return path.open("rb")


def _first_character(file: BinaryIO | gzip.GzipFile) -> bytes:
    head = file.read(3)
    if head == b"\xef\xbb\xbf":
        head = b""
    while not head.strip():
        more = file.read(_CHUNK_CHARS)
        if not more:
            return b""
        head += more
    return head.strip()[:1]


def _lines(path: Path, file: BinaryIO | gzip.GzipFile) -> Iterator[Row | ProblemError]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            yield where, json.loads(text.rstrip("\r\n"))
        except (ValueError, RecursionError) as error:
            yield ProblemError(f"{where}: not valid JSON: {_reason(error)}; {FIX}")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).split(";", maxsplit=1)[0]


def _list_items(path: Path, file: BinaryIO | gzip.GzipFile) -> Iterator[Row | ProblemError]:
    """Yield the items of a JSON list, each from a window that moves over the file."""
    window = _Window(path, file)
    window.expect("[")
    item = 0
    while window.peek() != "]":
        if item:
            window.expect(",")
        item += 1
        window.peek()
        where = f"{path}:{window.line}"
        yield where, window.decode(where)
    window.expect("]")
    if window.peek():
        raise ProblemError(f"{path}:{window.line}: text after the end of the list; remove it")


class _Window:
    """A moving piece of a JSON text, which grows only while one value does not fit in it."""

    def __init__(self, path: Path, file: BinaryIO | gzip.GzipFile) -> None:
        self._path = path
        self._file = file
        self._decoder = json.JSONDecoder()
        self._partial = b""
        self._text = ""
        self._at = 0
        self.line = 1
        """The 1-based line of the next character."""

    def peek(self) -> str:
        """Return the next character that is no white space; empty at the end of the file."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._move_to(blank.end() if blank else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read(_CHUNK_CHARS):
                return ""

    def expect(self, character: str) -> None:
        seen = self.peek()
        if seen != character:
            what = repr(seen) if seen else "the end of the file"
            raise ProblemError(
                f"{self._path}:{self.line}: not a JSON list: expected {character!r}, found {what}; "
                "fix the file from there on"
            )
        self._move_to(self._at + 1)

    def decode(self, where: str) -> Any:
        """Return the next value. A broken one ends the file, since the next cannot be found."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # an error well before the end of the window is an error of the text
                cut_off = error.msg.startswith("Unterminated") or error.pos > len(self._text) - 16
                if cut_off and self._read(max(_CHUNK_CHARS, len(self._text) - self._at)):
                    continue
                line = self.line + self._text.count("\n", self._at, error.pos)
                place = f"{self._path}:{line}"
                raise ProblemError(
                    f"{place}: not valid JSON: {_reason(error)} (row at {where}); fix the file "
                    "from there on"
                ) from None
            except (ValueError, RecursionError) as error:
                raise ProblemError(
                    f"{where}: not valid JSON: {_reason(error)}; fix the file from there on"
                ) from None
            self._move_to(end)
            return value

    def _move_to(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _read(self, size: int) -> bool:
        data = self._file.read(size)
        if not data:
            return False
        whole = self._partial + data
        try:
            text, self._partial = whole.decode("utf-8"), b""
        except UnicodeDecodeError as error:
            if error.start < len(whole) - 3:
                line = self.line + self._text.count("\n", self._at)
                line += whole.count(b"\n", 0, error.start)
                raise ProblemError(
                    f"{self._path}:{line}: not UTF-8; save the file as UTF-8"
                ) from None
            text, self._partial = whole[: error.start].decode("utf-8"), whole[error.start :]
        self._text, self._at = self._text[self._at :] + text, 0
        return True


def _problem_folders(folder: Path) -> list[Path]:
    """Return the problems of APPS's own layout: the folders inside, or the folder itself."""
    try:
        if (folder / "question.txt").is_file():
            return [folder]
        return sorted(child for child in folder.iterdir() if _of_apps(child))
    except OSError as error:
        raise ProblemError(f"{folder}: cannot be read ({error}); fix the folder") from None


def _apps_folders(found: list[Path]) -> Iterator[Row | ProblemError]:
    for child in found:
        try:
            yield str(child), _apps_row(child)
        except (OSError, ValueError, RecursionError) as error:
            yield ProblemError(f"{child}: {_reason(error)}; {FIX}")


def _of_apps(folder: Path) -> bool:
    return any((folder / name).is_file() for name in APPS_FILES)


def _apps_row(folder: Path) -> dict[str, Any]:
    def text(name: str) -> str:
        path = folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    if not (folder / "question.txt").is_file():
        raise ValueError("no question.txt")
    metadata = json.loads(text("metadata.json") or "{}")
    if not isinstance(metadata, dict):
        raise ValueError("metadata.json is no object")  # noqa: TRY004 - not the caller's mistake
    return {
        "problem_id": f"apps/{folder.resolve().name}",
        "question": text("question.txt"),
        "input_output": text("input_output.json"),
        "solutions": text("solutions.json"),
        "starter_code": text("starter_code.py"),
        "difficulty": metadata.get("difficulty"),
        "url": metadata.get("url", ""),
    }
