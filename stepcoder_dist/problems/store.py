"""Problems by id, for a set that may be larger than the memory.

They are pickled into a nameless database of SQLite, which keeps a few pages in memory and the
others in a file of the temporary folder (`SQLITE_TMPDIR`, else /var/tmp) that is removed with the
process. The problems used last are also kept unpickled: a set of ordinary size is never read back.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from stepcoder_dist.errors import ProblemError, RunError
from stepcoder_dist.problems import problem_from_row
from stepcoder_dist.problems.files import FIX, rows
from stepcoder_dist.problems.formats import problem_id
from stepcoder_dist.records import Problem

AT_HAND_BYTES = 32 * 2**20
"""Pickled size of the problems kept unpickled. Reading one back takes less than judging."""

Entry = Problem | ProblemError
"""A problem, or the error that says why its row cannot be used."""


class ProblemStore(Mapping[str, Entry]):
    """The store; a context manager, for one thread."""

    def __init__(self, *, at_hand_bytes: int = AT_HAND_BYTES) -> None:
        self._most = at_hand_bytes
        self._held = 0
        self._at_hand: OrderedDict[str, tuple[Entry, int]] = OrderedDict()
        self._database = sqlite3.connect("", isolation_level=None)
        # one transaction that is never committed: nobody else reads it
        self._database.executescript(
            "PRAGMA journal_mode = OFF; CREATE TABLE entry (id BLOB PRIMARY KEY, data BLOB); BEGIN"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, name: str, entry: Entry) -> bool:
        """Keep an entry unless the id is taken; return whether it was kept.

        Raises `RunError` where the temporary folder cannot hold it.
        """
        data = pickle.dumps(entry)
        try:
            added = self._database.execute(
                "INSERT OR IGNORE INTO entry VALUES (?, ?)", (_key(name), data)
            ).rowcount
        except sqlite3.Error as error:
            raise RunError(
                f"problem {name!r} cannot be kept on disk ({error}); make room in /var/tmp or set "
                "SQLITE_TMPDIR to a folder with room for the complete set"
            ) from None
        if added:
            self._take(name, entry, len(data))
        return bool(added)

    def replace(self, name: str, entry: Entry) -> None:
        """Put another entry in the place of one that is there."""
        data = pickle.dumps(entry)
        self._database.execute("UPDATE entry SET data = ? WHERE id = ?", (data, _key(name)))
        self._held -= self._at_hand.pop(name, (entry, 0))[1]
        self._take(name, entry, len(data))

    def __getitem__(self, name: str) -> Entry:
        if name in self._at_hand:
            self._at_hand.move_to_end(name)
            return self._at_hand[name][0]
        found = self._database.execute("SELECT data FROM entry WHERE id = ?", (_key(name),))
        row = found.fetchone()
        if row is None:
            raise KeyError(name)
        entry: Entry = pickle.loads(row[0])  # noqa: S301 - written by `add`, seen by nobody else
        self._take(name, entry, len(row[0]))
        return entry

    def __iter__(self) -> Iterator[str]:
        for (key,) in self._database.execute("SELECT id FROM entry ORDER BY rowid"):
            yield key.decode("utf-8", "surrogatepass")

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM entry").fetchone()[0])

    def _take(self, name: str, entry: Entry, size: int) -> None:
        """Keep an entry unpickled, and drop those that were not asked for the longest time."""
        self._at_hand[name] = entry, size
        self._held += size
        while self._held > self._most and len(self._at_hand) > 1:
            self._held -= self._at_hand.popitem(last=False)[1][1]


def read_problems(path: Path) -> ProblemStore:
    """Read a file's problems by id, bad ones as errors.

    An id whose rows differ is an error too. Raises `ProblemError` if there are no problems.
    """
    store = ProblemStore()
    complaint: ProblemError | None = None
    for item in rows(path):
        if isinstance(item, ProblemError):
            complaint = complaint or item
            continue
        where, row = item
        try:
            problem = problem_from_row(row, where)
        except ProblemError as error:
            # a new error: the traceback of the raised one holds the complete row
            copy = ProblemError(str(error).removesuffix(f"; {FIX}"))
            complaint = complaint or copy
            name = problem_id(row, where)
            if name is not None:
                store.add(name, copy)
        else:
            if store.add(problem.problem_id, problem):
                continue
            there = store[problem.problem_id]
            if isinstance(there, Problem) and there != problem:
                twice = f"{where}: the id {problem.problem_id!r} has an earlier row that differs"
                store.replace(problem.problem_id, ProblemError(twice))
    if not len(store):
        if complaint is None:
            raise ProblemError(f"{path}: holds no problems; give a set with at least one")
        first = str(complaint).removesuffix(f"; {FIX}")
        raise ProblemError(f"{first}; no row of {path} can be used, this is the first")
    return store


def _key(name: str) -> bytes:
    # ids come from JSON, which can hold halves of surrogate pairs
    return name.encode("utf-8", "surrogatepass")
