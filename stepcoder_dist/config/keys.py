"""The tree of a run file as tables of dotted keys: who asks what a key means, asks here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from stepcoder_dist.config.counts import EVERYTHING, Counts
from stepcoder_dist.config.run import RunConfig
from stepcoder_dist.config.section import Section


@dataclass(frozen=True, slots=True)
class Key:
    """A key that has a value of its own: no section, unless it may be absent or an array."""

    path: str
    field: FieldInfo
    counts: Counts


@dataclass(frozen=True, slots=True)
class Table:
    """A section with its keys."""

    path: str
    """Empty: the top level."""
    section: type[Section]
    repeated: bool
    """True for a section of which a file has an array, `[[sft.phases]]`."""
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that has two values."""

    key: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.key} = {self.there!r} there, {self.here!r} here"


def tables(
    section: type[Section] = RunConfig, path: str = "", *, repeated: bool = False
) -> Iterator[Table]:
    """Yield a section and those inside it, in the order of the file."""
    keys, inside = [], []
    for name, field in section.model_fields.items():
        dotted = f"{path}.{name}" if path else name
        inner = section_in(field.annotation)
        is_array = get_origin(field.annotation) is tuple
        if inner is not None:
            inside.append((inner, dotted, is_array))
        if inner is None or is_array or field.default is None:
            keys.append(Key(dotted, field, _declared(field, inner or section)))
    yield Table(path, section, repeated, tuple(keys))
    for inner, dotted, is_array in inside:
        yield from tables(inner, dotted, repeated=is_array)


def section_in(annotation: Any) -> type[Section] | None:
    """Return the section class in an annotation: itself, optional, or repeated in an array."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _declared(field: FieldInfo, section: type[Section]) -> Counts:
    own = (each for each in field.metadata if isinstance(each, Counts))
    return next(own, section.counts)


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of tables as one table of dotted keys."""
    return dict(_flat(tree, ""))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def values(config: RunConfig) -> dict[str, Any]:
    """Return a config by dotted key, as JSON would give it back."""
    return flat(config.model_dump(mode="json"))


def counts(path: str) -> Counts:
    """Return what a dotted key counts for.

    One that the tree does not know counts for everything.
    """
    known = _by_path()
    while path and path not in known:
        path = path.rpartition(".")[0]  # `actors.resources.custom.<any name>`
    return known.get(path, EVERYTHING)


@cache
def _by_path() -> dict[str, Counts]:
    return {key.path: key.counts for table in tables() for key in table.keys}


def counting(flat_config: Mapping[str, Any], question: Callable[[Counts], bool]) -> dict[str, Any]:
    """Return the keys that count for what `question` asks."""
    return {key: value for key, value in flat_config.items() if question(counts(key))}


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], question: Callable[[Counts], bool]
) -> list[Difference]:
    """Return where two tables of dotted keys differ in what counts, by key.

    A key that one of them lacks counts as having had its default: it came with a later version.
    """
    before, after = (_defaults() | counting(each, question) for each in (there, here))
    compared = counting(dict.fromkeys([*there, *here]), question)
    return [
        Difference(key, before.get(key), after.get(key))
        for key in sorted(compared)
        if before.get(key) != after.get(key)
    ]


@cache
def _defaults() -> dict[str, Any]:
    """Of the keys that have one. A section that may be absent has no keys by default."""
    found: dict[str, Any] = {}
    for key in (key for table in tables() for key in table.keys):
        if key.path.rpartition(".")[0] not in found and not key.field.is_required():
            found[key.path] = to_jsonable_python(key.field.get_default(call_default_factory=True))
    return found
