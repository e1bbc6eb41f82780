"""Which keys of a run file may change between a checkpoint and the run that resumes it.

A resumed run writes into the same rows and curves: what gives a sample, a reward or a gradient
another meaning is refused. What only says how far, how often and on which machines is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stepcoder_dist.errors import ConfigError

MAY_CHANGE = (
    "run_dir",
    "dashboard",
    "method",
    "train.steps",
    "train.checkpoint_every",
    "actors",
    "sandbox.number",
    "sandbox.containers",
    "sandbox.resources",
    "sandbox.attempts",
    "sandbox.backend",
    "sandbox.image",
    "sandbox.packages",
    "sandbox.engine_wait_s",
    "sandbox.start_timeout_s",
    "learner.resources",
    "learner.threads",
    "learner.start_timeout_s",
    "learner.microbatch_samples",
    "learner.gradient_checkpointing",
    "weights",
    "problems.heldout",
    "problems.sft",
    "problems.sft_heldout",
    "problems.max_bad_share",
    "sft",
    "evaluation",
)
"""Keys, and sections with all their keys. `method` is a name for what other keys say."""

_NAMED = 4
"""Differences that are named; the rest is counted."""


def meaning(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What must not change, by dotted key, of a config as JSON would give it back."""
    return {key: value for key, value in flat(tree).items() if not _may_change(key)}


def check(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """Compare two configs. Raises `ConfigError` that names the keys that differ."""
    there, here = meaning(saved), meaning(now)
    differences = [
        f"{key} = {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if differences:
        more = len(differences) - _NAMED
        rest = f"; and {more} more" if more > 0 else ""
        raise ConfigError(
            f"{where} comes from another config: {'; '.join(differences[:_NAMED])}{rest}; set "
            "back what differs, or start a new run (docs/cluster.md lists what may change)"
        )


def check_sources(saved: Mapping[str, str], now: Mapping[str, str], where: str) -> None:
    """Compare the digests of `content_digest.sources`; an empty one says nothing.

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


def _may_change(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in MAY_CHANGE)


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree of tables as one table of dotted keys."""
    return dict(_flat(tree, ""))


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
