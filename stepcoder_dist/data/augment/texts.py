"""Shapes of text: letters in any order, words of a vocabulary, or runs between fixed signs."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from stepcoder_dist.data.augment.shapes import OneOf, Reach, Shape, lengths

_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
_ENOUGH = 3
"""Letters of a class that must have been seen before its other letters are used."""
_RUN = re.compile(r"[0-9]+|[A-Za-z]+")
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}


@dataclass(frozen=True, slots=True)
class Letters:
    """Texts without a blank, whose letters are independent of each other."""

    alphabet: str
    shortest: int
    longest: int
    balanced: bool
    """Whether all brackets that were seen had their partners."""
    seen: tuple[str, ...]

    def fits(self, value: Any) -> bool:
        return (
            isinstance(value, str)
            and self.shortest <= len(value) <= self.longest
            and set(value) <= set(self.alphabet)
            and (not self.balanced or balanced(value))
        )

    def fresh(self, rng: Random) -> str:
        length = rng.randint(self.shortest, min(self.longest, self.shortest + 30))
        few = rng.choices(self.alphabet, k=rng.choice((1, 2, len(self.alphabet))))
        return "".join(rng.choices(few, k=length))

    def varied(self, value: Any, rng: Random) -> str:
        changed = change(list(value), rng, lambda: rng.choice(self.alphabet))
        return "".join(changed) if rng.random() < 0.9 else self.fresh(rng)  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Words:
    """Texts with blanks, made of the words that were seen, in any order and number."""

    vocabulary: tuple[str, ...]
    fewest: int
    most: int

    def fits(self, value: Any) -> bool:
        words = value.split(" ") if isinstance(value, str) else []
        return self.fewest <= len(words) <= self.most and set(words) <= set(self.vocabulary)

    def fresh(self, rng: Random) -> str:
        return " ".join(rng.choices(self.vocabulary, k=rng.randint(self.fewest, self.most)))

    def varied(self, value: Any, rng: Random) -> str:
        return " ".join(change(value.split(" "), rng, lambda: rng.choice(self.vocabulary)))


@dataclass(frozen=True, slots=True)
class Runs:
    """Texts of one skeleton (`12-31-1999`); each of its runs of digits or letters varies."""

    seen: tuple[str, ...]

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str) or skeleton(value) != skeleton(self.seen[0]):
            return False
        return all(self._fits(place, run) for place, run in enumerate(_RUN.findall(value)))

    def fresh(self, rng: Random) -> str:
        value = self.seen[0]
        for place in range(len(_RUN.findall(value))):
            value = self._replaced(value, place, rng)
        return value

    def varied(self, value: Any, rng: Random) -> str:
        runs = len(_RUN.findall(value))
        return self._replaced(value, rng.randrange(runs), rng)

    def _of(self, place: int) -> list[str]:
        return [_RUN.findall(text)[place] for text in self.seen]

    def _fits(self, place: int, run: str) -> bool:
        seen = self._of(place)
        if not run.isdigit():
            return run in seen
        within = min(map(int, seen)) <= int(run) <= max(map(int, seen))
        return within and (not _padded(seen) or len(run) in set(map(len, seen)))

    def _replaced(self, value: str, place: int, rng: Random) -> str:
        seen = self._of(place)
        run = rng.choice(seen)
        if run.isdigit() and rng.random() < 0.7:  # noqa: PLR2004
            number = rng.randint(min(map(int, seen)), max(map(int, seen)))
            run = str(number).zfill(len(run) if _padded(seen) else 0)
        found = list(_RUN.finditer(value))[place]
        return value[: found.start()] + run + value[found.end() :]


def _padded(runs: list[str]) -> bool:
    return any(run[0] == "0" and len(run) > 1 for run in runs)


def learn(seen: Sequence[str], reach: Reach) -> Shape:
    """Return the shape of these texts."""
    if any(" " in text for text in seen):
        words = [text.split(" ") for text in seen]
        vocabulary = tuple(dict.fromkeys(word for text in words for word in text))
        return Words(vocabulary, *lengths(min(map(len, words)), max(map(len, words)), reach))
    alphabet = _alphabet("".join(seen))
    if not alphabet:
        return OneOf(("",))
    signs = re.sub("[0-9A-Za-z]", "", seen[0])
    if signs and _RUN.search(seen[0]) and len({skeleton(text) for text in seen}) == 1:
        return Runs(tuple(seen))
    shortest, longest = lengths(min(map(len, seen)), max(map(len, seen)), reach)
    paired = any(c in _PAIRS for c in alphabet) and all(map(balanced, seen))
    return Letters(alphabet, shortest, longest, paired, tuple(seen))


def skeleton(text: str) -> str:
    """Return the text with one sign for each run: that of `12-31-1999` is `0-0-0`."""
    return _RUN.sub(lambda found: "0" if found.group().isdigit() else "a", text)


def balanced(text: str) -> bool:
    """Return whether every bracket has its partner, properly nested."""
    is_open: list[str] = []
    for character in text:
        if character in _PAIRS.values():
            is_open.append(character)
        elif character in _PAIRS and (not is_open or is_open.pop() != _PAIRS[character]):
            return False
    return not is_open


def _alphabet(text: str) -> str:
    letters = set(text)
    for one in _CLASSES:
        if len(letters & set(one)) >= _ENOUGH:
            letters |= set(one)
    return "".join(sorted(letters))


def change(items: list[Any], rng: Random, new: Callable[[], Any]) -> list[Any]:
    """Make one small change of a list; `new()` makes an item. The list may stay as it was."""
    size = len(items)
    if not size:
        return [new()]
    at, other = rng.randrange(size), rng.randrange(size)
    swapped = list(items)
    swapped[at], swapped[other] = items[other], items[at]
    ways: tuple[Callable[[], list[Any]], ...] = (
        lambda: [*items[:at], new(), *items[at:]],
        lambda: [*items[:at], *items[at + 1 :]],
        lambda: [*items[:at], items[at], *items[at:]],
        lambda: [*items[:at], new(), *items[at + 1 :]],
        lambda: swapped,
        lambda: items[::-1],
        lambda: rng.sample(items, size),
        lambda: items[:at],
        lambda: [items[at]] * size,
    )
    return rng.choice(ways)()
