"""Where a set is: a file, a folder, or a dataset on the Hugging Face hub, perhaps within dates.

    data/taco                                     a folder of data files, or of APPS's problems
    data/taco/train-*.parquet                     some files of it
    hf://datasets/BAAI/TACO@main/train/*.arrow    files of a dataset, through the hub's cache
    lcb.jsonl?start_date=2024-08-01               only rows from that day on; also end_date=

`HF_HUB_OFFLINE=1` takes what the hub's cache has, as everywhere.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.paths import expanded

# a Path makes one slash of two
_HUB = re.compile(r"hf:/{1,2}datasets/([\w.-]+/[\w.-]+?)(?:@([^/]+))?(?:/(.+?))?/?")
_QUERY = re.compile(r"\?((?:(?:start|end)_date=[^&]*&?)+)$")
_DATE_KEYS = ("contest_date", "estimated_date")
"""Keys of the day on which a problem was published: LiveCodeBench's, LeetCodeDataset's."""
DATA = (".jsonl", ".json", ".parquet", ".arrow")
"""Endings of data files in a folder; each may have `.gz` behind it."""
_ABOUT_DATA = re.compile(
    r"dataset_infos?\.json|dataset_dict\.json|state\.json|.*\.manifest\.json|refine_report\.json"
)
_SPLIT = re.compile(r"(?<![a-z])(train|test|valid|validation|dev)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """A place on this machine, and which rows of it are meant."""

    path: Path
    pattern: str = ""
    """Which files in the folder; empty: its data files."""
    start: str = ""
    """The first day, `YYYY-MM-DD`; empty: no limit."""
    end: str = ""
    """The last day."""

    def holds(self, row: Any, where: str) -> bool:
        """Return whether the row is within the dates.

        Raises `ProblemError` for one without a date.
        """
        if not (self.start or self.end) or not isinstance(row, Mapping):
            return True
        day = next((str(row[key])[:10] for key in _DATE_KEYS if row.get(key)), "")
        if not _is_day(day):
            raise ProblemError(
                f"{where}: the row has no date ({' or '.join(_DATE_KEYS)}) to choose it by; leave "
                "out start_date and end_date"
            )
        return (not self.start or day >= self.start) and (not self.end or day <= self.end)


def find(spec: str | Path) -> Source:
    """Return where a set is; a dataset of the hub is downloaded where the cache lacks it.

    Raises `ProblemError` for no name, dates that are none, and what the hub does not give.
    """
    written = expanded(str(spec))
    if not written:  # a path would make the working folder of it
        raise ProblemError('no problem set is named: "" is empty; name a file, a folder, …')
    query = _QUERY.search(written)
    days = {}
    if query is not None and not Path(written).exists():
        written = written[: query.start()]
        days = dict(part.split("=", 1) for part in query[1].rstrip("&").split("&"))
        for name, day in days.items():
            if day and not _is_day(day):
                raise ProblemError(f"{spec}: {name} is {day!r}, not a day like 2024-08-31")
    hub = _HUB.fullmatch(written)
    if hub:
        folder = _from_hub(hub[1], hub[2], hub[3] or "")
        path, pattern = _parted(folder / hub[3] if hub[3] else folder)
    else:
        path, pattern = _parted(Path(written))
    return Source(path, pattern, days.get("start_date", ""), days.get("end_date", ""))


def _parted(path: Path) -> tuple[Path, str]:
    """Part a path with wildcards into the folder above them and the pattern inside of it."""
    at = next((n for n, part in enumerate(path.parts) if "*" in part or "?" in part), None)
    if at is None or path.exists():
        return path, ""
    return Path(*path.parts[:at]), "/".join(path.parts[at:])


def on_hub(spec: str) -> bool:
    """Return whether a set is a dataset of the hub."""
    return _HUB.fullmatch(_QUERY.sub("", spec)) is not None


def within(spec: str, start: str, end: str) -> str:
    """Return the set with these dates, each of which may be empty."""
    days = (("start_date", start), ("end_date", end))
    query = "&".join(f"{name}={day}" for name, day in days if day)
    return f"{spec}?{query}" if query else spec


def data_files(folder: Path, pattern: str = "") -> list[Path]:
    """Return the data files in a folder and below it, in the order of their names.

    With a pattern only those that match. Raises `ProblemError` where they are of several splits,
    of which one has to be chosen.
    """
    found = [
        path
        for path in (folder.glob(pattern) if pattern else folder.rglob("*"))
        if path.name.removesuffix(".gz").endswith(DATA)
        and not _ABOUT_DATA.fullmatch(path.name)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    names = {path: _below(path, folder) for path in found}
    splits = {each[0].lower(): name for name in names.values() for each in _SPLIT.finditer(name)}
    if "train" in splits and len(splits) > 1:
        raise ProblemError(
            f"{folder}: holds several splits ({', '.join(sorted(splits))}); name the folder or "
            f"file of one, like {splits['train']}"
        )
    return sorted(found, key=lambda path: _natural(names[path]))


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts `test10` behind `test9`, and `0010` behind `0009`.

    No two names have the same key: a folder lists its files in any order.
    """
    # the slash: a number that begins a name has a text before it too
    return [(int(part or 0), text) for text, part in re.findall(r"(\D+)(\d*)", f"/{name}")], name


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@cache
def _from_hub(repository: str, revision: str | None, inside: str) -> Path:
    """Return the folder of the hub's copy, with the data files that are named."""
    # imported here: only a dataset of the hub needs it, and it takes a while
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    every = [f"*{ending}{zipped}" for ending in DATA for zipped in ("", ".gz")]
    wanted = [inside, *(f"{inside}/{each}" for each in every)] if inside else every
    try:
        return Path(
            snapshot_download(
                repository, repo_type="dataset", revision=revision, allow_patterns=wanted
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ProblemError(
            f"hf://datasets/{repository}: the hub does not give it ({reason}); check the name, the "
            "connection, and HF_TOKEN for a dataset that asks for one"
        ) from None
