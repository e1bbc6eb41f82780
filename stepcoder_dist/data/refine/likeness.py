"""Finding the problem whose statement was seen before: word for word, or nearly, by MinHash.

Statements are compared as words and signs, without white space: a plus is no minus. Two are
near-duplicates when the estimated Jaccard similarity of their runs of `WORDS` words and signs, in
lower case, is at least the threshold. A signature of each statement is held, about 5 KB with its
index; the text is not.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Problem

WORDS = 4
PERMUTATIONS = 128
_SEED = 1
_WORD = re.compile(r"\w+|[^\w\s]")
_LEAST_FOUND = 0.95
"""Share found of pairs exactly at the threshold; the index finds more of similar pairs."""


class Likeness:
    """Statements seen so far, by the id of their problem."""

    def __init__(self, threshold: float) -> None:
        """`threshold` 0: word for word only. Raises `MissingEngine` without datasketch."""
        self._threshold = threshold
        self._exact: dict[bytes, str] = {}
        self._near: list[tuple[str, Any]] = []
        """Id and signature by the key of the index, since two sets can have the same ids."""
        self._index: Any = None
        self._last: tuple[list[str], Any] = ([], None)
        """The signature computed last: a statement that is looked up is added next."""
        if threshold:
            datasketch = load_datasketch()
            self._empty = datasketch.MinHash(num_perm=PERMUTATIONS, seed=_SEED)
            self._lean = datasketch.LeanMinHash
            self._index = datasketch.MinHashLSH(num_perm=PERMUTATIONS, params=_bands(threshold))

    def __len__(self) -> int:
        return len(self._exact)

    def add(self, name: str, text: str) -> None:
        """Remember a problem's text (`text_of`)."""
        words = _WORD.findall(text)
        digest = _digest(words)
        if digest in self._exact:
            return
        self._exact[digest] = name
        if self._index is not None:
            signature = self._signature(words)
            self._index.insert(len(self._near), signature, check_duplication=False)
            self._near.append((name, signature))

    def seen(self, text: str) -> tuple[str, float] | None:
        """Return the id of the most similar problem so far and its similarity.

        1.0 is word for word.
        """
        if not self._exact:
            return None
        words = _WORD.findall(text)
        same = self._exact.get(_digest(words))
        if same is not None:
            return same, 1.0
        if self._index is None:
            return None
        signature = self._signature(words)
        near = (self._near[key] for key in sorted(self._index.query(signature)))
        found = [(signature.jaccard(other), name) for name, other in near]
        likest = max(found, default=(0.0, ""), key=lambda pair: pair[0])
        # below 1, which means word for word
        return (likest[1], min(likest[0], 0.999)) if likest[0] >= self._threshold else None

    def _signature(self, words: list[str]) -> Any:
        if self._last[0] != words:
            low = [word.lower() for word in words]
            runs = {" ".join(low[i : i + WORDS]) for i in range(max(1, len(low) - WORDS + 1))}
            full = self._empty.copy()
            full.update_batch([run.encode("utf-8", "surrogatepass") for run in runs])
            self._last = words, self._lean(full)
        return self._last[1]


def text_of(problem: Problem) -> str:
    """Return the statement; where a set has none, the reference."""
    return problem.statement if problem.statement.strip() else problem.reference


def _bands(threshold: float) -> tuple[int, int]:
    """Return how many bands the index has, and rows a band: the fewest bands that find enough."""
    for rows in range(PERMUTATIONS // 2, 1, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= _LEAST_FOUND:
            return bands, rows
    return PERMUTATIONS, 1


def load_datasketch() -> Any:
    """Import the library. Raises `MissingEngine`."""
    try:
        import datasketch
    except ImportError:
        raise MissingEngine(
            "near-duplicates are found with datasketch, which is not installed; "
            "pip install 'stepcoder-dist[data]', or pass --near-duplicate 0"
        ) from None
    return datasketch


def _digest(words: list[str]) -> bytes:
    return hashlib.sha256(" ".join(words).encode("utf-8", "surrogatepass")).digest()
