"""What a checkpoint holds of the driver, and the check that the run that resumes it is the same.

A resumed run writes into the same rows and curves. A change of what a sample, a reward or a
gradient means is refused. A change of how far, how often and on which machines is not. Each key of
the config declares which of the two it is (`config/counts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.config.counts import fixed_for_train
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.loop.book.saved import open_in
from stepcoder_dist.loop.run import STATE_KEYS

_NAMED = 4
"""Differences that are named; the rest is counted."""


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return what `Run.state` and the config were, as JSON; `version` is a number.

    Raises `FileNotFoundError`, and `ConfigError` for a file that is damaged.
    """
    file = checkpoint / "run.json"
    try:
        state = dict(parsed(file.read_text(encoding="utf-8")))
        state["version"], state["config"] = int(state["version"]), dict(state["config"])
        if missing := STATE_KEYS - state.keys():
            raise KeyError(", ".join(sorted(missing)))  # noqa: TRY301 - one message for all of it
        open_in(state)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"{file} is damaged ({type(error).__name__}: {error}); remove {checkpoint.name} to "
            "resume from the checkpoint before it"
        ) from None
    return state


def check(saved: Mapping[str, Any], now: RunConfig, where: str) -> None:
    """Compare a checkpoint's config, as JSON, with the run's.

    Raises `ConfigError` that names the keys that differ.
    """
    different = keys.differences(keys.flat(saved), keys.values(now), fixed_for_train)
    if different:
        more = len(different) - _NAMED
        named = "; ".join(map(str, different[:_NAMED])) + (f"; and {more} more" if more > 0 else "")
        raise ConfigError(
            f"{where} comes from another config: {named}; set back what differs, or start a new "
            "run (docs/config.md marks what may change)"
        )


def check_sources(saved: Mapping[str, str], now: Mapping[str, str], where: str) -> None:
    """Compare the digests of `run.digests.sources`; an empty one is not compared.

    Raises `ConfigError` that names what has changed under the same name.
    """
    changed = [
        what for what, digest in now.items() if digest and saved.get(what) and saved[what] != digest
    ]
    if changed:
        raise ConfigError(
            f"{where} was made from other files: {' and '.join(changed)} changed since, under the "
            "same name; put back what was there, or start a new run"
        )
