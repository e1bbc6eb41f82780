"""What `stepcoder ledger` prints of a run directory: the counts, and whether they balance."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import ConfigError, InUse, Malformed
from stepcoder_dist.host.files import json_lines
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.loop.book.lines import Fate
from stepcoder_dist.loop.book.saved import open_in
from stepcoder_dist.run import resumption
from stepcoder_dist.run.account import ledger
from stepcoder_dist.run.account.ledger_fold import Account, fold
from stepcoder_dist.run.account.ledger_proof import (
    check_checkpoint,
    check_rewards,
    check_slots,
    check_spares,
)
from stepcoder_dist.run.run_folder import checkpoints, hold

NAMED = 10
"""Violations that are printed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Report:
    """The account of one run directory."""

    lines: tuple[str, ...]
    balances: bool


def report(run_dir: Path) -> Report:
    """Prove the ledger of a run, finished or not. Raises `ConfigError` where there is none.

    It is raised also where the newest checkpoint is damaged.
    """
    path = run_dir / ledger.NAME
    if not path.exists():
        raise ConfigError(
            f"{run_dir}: no {ledger.NAME}; a run writes it with its first step (runs of versions "
            "before it have none)"
        )
    live = _is_live(run_dir)
    try:
        account = fold(_numbered(path))
        check_slots(account)
        check_spares(account)
        # a live run has gone on since its ledger was read
        until = account.last_step if live else None
        check_rewards(account, _rewarded(run_dir / "samples.jsonl", until))
    except Malformed as error:
        return Report((f"{path}: {error}; the file was changed or is damaged",), balances=False)
    state = _newest_state(run_dir, until)
    if state is not None and state["version"] >= account.head.step:
        check_checkpoint(account, state["version"], open_in(state))
    lines = [*_counts(account), *_notes(account, live=live)]
    if not account.violations:
        lines.append(f"OK: each of {len(account.samples)} samples is accounted for once")
        return Report(tuple(lines), balances=True)
    lines += [f"  {violation}" for violation in account.violations[:NAMED]]
    more = len(account.violations) - NAMED
    lines += [f"  and {more} more"] if more > 0 else []
    lines.append(f"NOT BALANCED: {len(account.violations)} violations in {path}")
    return Report(tuple(lines), balances=False)


def _counts(account: Account) -> Iterator[str]:
    fates = account.fates
    yield f"run {account.head.run}: {account.last_step} steps, {account.resumptions} resumptions"
    reasons = ", ".join(f"{number} {why}" for why, number in sorted(account.reasons.items()))
    counts = {
        "trained": fates[Fate.TRAINED],
        "rejected": fates[Fate.REJECTED],
        "infrastructure error": fates[Fate.FAULT],
        "cancelled": fates[Fate.CANCELLED],
        "under way": account.under_way,
    }
    for name, number in counts.items():
        why = f" ({reasons})" if name == "rejected" and reasons else ""
        yield f"{number:>9} {name}{why}"


def _notes(account: Account, *, live: bool) -> Iterator[str]:
    if account.taken_back:
        yield (
            f"{account.taken_back} fates were taken back by a resumption, which goes back to its "
            "checkpoint: those samples were made again"
        )
    if account.ended:
        return
    if live:
        yield "the run is live: what is under way, and its step in progress, is not settled"
    else:
        yield (
            "the run did not end by itself: what is under way was cancelled with it, unless "
            "`stepcoder train --resume` samples it again"
        )


def _is_live(run_dir: Path) -> bool:
    """Return whether a process holds the folder."""
    lock = run_dir / ".lock"
    if not lock.exists():
        return False
    try:
        os.close(hold(lock, run_dir, shared=True))
    except InUse:
        return True
    except ConfigError:  # a folder that may be read only
        return False
    return False


def _numbered(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(json_lines.complete(path), start=1):
        try:
            row = parsed(line)
        except ValueError as error:
            raise Malformed(f"line {number} is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise Malformed(f"line {number} is no object")
        yield number, row


def _rewarded(path: Path, until: int | None) -> Iterator[tuple[int, str]]:
    """Yield step and id of each row, of the steps up to `until` where there is one."""
    for number, line in enumerate(json_lines.complete(path), start=1):
        try:
            row = parsed(line)
            step, sample_id = int(row["step"]), str(row["sample_id"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise Malformed(f"{path.name}, line {number}: no row of a sample ({error})") from None
        if until is None or step <= until:
            yield step, sample_id


def _newest_state(run_dir: Path, until: int | None) -> dict[str, Any] | None:
    """Return what the newest checkpoint holds, of the steps up to `until` where there is one."""
    for folder in reversed(checkpoints(run_dir)):
        if until is None or int(folder.name.removeprefix("step_")) <= until:
            with suppress(FileNotFoundError):  # a live run removes its old ones
                return resumption.read_state(folder)
    return None
