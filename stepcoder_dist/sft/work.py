"""The working folder of a warm start that is not finished: `<folder>.unfinished/`.

metrics.jsonl               one object for each update; the finished folder gets it
checkpoints/step_000040/    learner/ and state.json; complete or absent, the newest only

It exists while `stepcoder sft` works, and stays after an interruption that left a checkpoint.
Whoever opens it holds the lock of `sft.folder.writing`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.config.counts import fixed_for_sft
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import atomic_file, draft_folder, json_lines
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.run.checkpoint_series import CheckpointSeries
from stepcoder_dist.sft.examples import SftExamples

METRICS = "metrics.jsonl"
MADE_FROM = "made_from.json"
"""In the finished folder: what its weights depend on."""
_STATE = "state.json"


def folder_of(config: RunConfig) -> Path:
    """Return the path, absolute because ranks write into it from other working folders."""
    return Path(f"{config.sft_folder}.unfinished").resolve()


def refuse_unfinished(config: RunConfig) -> None:
    """Raise `ConfigError` where an earlier warm start can be resumed: it may be hours of work."""
    folder = folder_of(config)
    if found := _series(folder).complete():
        raise ConfigError(
            f"{folder} holds an unfinished warm start with {_updates(found[-1])} updates; "
            "continue with `stepcoder sft RUN.toml --resume`, or remove the folder to start again"
        )


def is_unfinished(config: RunConfig) -> bool:
    """Return whether there is a checkpoint of a warm start to resume."""
    return bool(_series(folder_of(config)).complete())


def refuse_made_otherwise(config: RunConfig, examples: SftExamples) -> None:
    """Raise `ConfigError` where the finished folder was made from other settings or examples.

    One without a record (a model that came from elsewhere) is taken as it is.
    """
    file = Path(config.sft_folder) / MADE_FROM
    if not file.is_file():
        return
    try:
        saved = dict(parsed(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{file}: cannot be read ({error}); restore it, or remove {config.sft_folder}"
        ) from None
    for different in keys.differences(saved, _identity(config, examples), fixed_for_sft):
        raise ConfigError(
            f"{config.sft_folder} comes from another warm start: {different}; set it back, or "
            "give model.sft_path another folder"
        )


def refuse_without_checkpoint(config: RunConfig) -> None:
    """Raise `ConfigError` where there is nothing to resume."""
    if not is_unfinished(config):
        raise ConfigError(
            f"{folder_of(config)}: no checkpoint of a warm start to resume; run `stepcoder sft` "
            "without --resume"
        )


class SftWork:
    """The rows and checkpoints of one warm start."""

    def __init__(self, config: RunConfig, examples: SftExamples) -> None:
        self.path = folder_of(config)
        self._identity = _identity(config, examples)
        self.updates = 0
        """Updates that the resumed checkpoint had; 0 at the beginning."""
        self.resumed: Path | None = None
        """The learner's folder of that checkpoint; None at the beginning."""

    def begin(self) -> None:
        """Make an empty folder; `refuse_unfinished` has checked that it held no checkpoint."""
        shutil.rmtree(self.path, ignore_errors=True)
        (self.path / "checkpoints").mkdir(parents=True)

    def resume(self) -> None:
        """Resume from the newest checkpoint; later rows are dropped.

        Raises `ConfigError` for one that is damaged or comes from other settings or examples.
        """
        newest = _series(self.path).complete()[-1]
        _series(self.path).sweep()
        try:
            state = parsed((newest / _STATE).read_text(encoding="utf-8"))
            saved, updates = dict(state["identity"]), int(state["updates"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{newest / _STATE} is damaged ({type(error).__name__}: {error}); remove "
                f"{self.path} to start again"
            ) from None
        for different in keys.differences(saved, self._identity, fixed_for_sft):
            raise ConfigError(
                f"{newest} comes from another warm start: {different}; set it back, or remove "
                f"{self.path} to start again"
            )
        json_lines.cut_after(self.path / METRICS, updates)
        self.updates, self.resumed = updates, newest / "learner"

    def record(self, row: Mapping[str, Any]) -> None:
        json_lines.append_rows(self.path / METRICS, [row])

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of all updates, and row 0 where the held-out loss was measured first."""
        return list(json_lines.rows(self.path / METRICS))

    def draft(self, updates: int) -> Path:
        """Make a folder for the ranks' next checkpoint; it is invisible until `commit`."""
        return _series(self.path).begin(updates)

    def commit(self, draft: Path, updates: int) -> None:
        """Make the checkpoint visible in one rename, then remove those before it.

        Raises `RunError` where the ranks wrote nothing.
        """
        state = {"updates": updates, "identity": self._identity}
        before = _series(self.path).complete()
        done = _series(self.path).commit(draft, json.dumps(state, indent=1) + "\n")
        for old in before:
            if old != done:
                draft_folder.remove(old)

    def finish(self, folder: Path) -> None:
        """Copy the rows to the finished folder, say what made it, and remove this one."""
        made_from = json.dumps(self._identity, indent=1) + "\n"
        atomic_file.write_text(folder / MADE_FROM, made_from)
        atomic_file.write_text(folder / METRICS, (self.path / METRICS).read_text(encoding="utf-8"))
        shutil.rmtree(self.path)

    def close(self) -> None:
        """Remove the folder where it has no checkpoint to resume."""
        if not _series(self.path).complete():
            shutil.rmtree(self.path, ignore_errors=True)


def _identity(config: RunConfig, examples: SftExamples) -> dict[str, Any]:
    """Return what the weights depend on, by dotted key, as it comes back from JSON."""
    read = {"problems.sft": config.problems.of_warm_start}
    return {
        **keys.counting(keys.values(config) | read, fixed_for_sft),
        "examples (SHA-256 of their tokens)": _digest(examples),
    }


def _digest(examples: SftExamples) -> str:
    digest = hashlib.sha256()
    for phase in examples.phases:
        digest.update(f"{len(phase)} examples".encode())
        for example in phase:
            digest.update(f"{len(example.prompt_ids)}+{len(example.completion_ids)}".encode())
            digest.update(example.prompt_ids.tobytes() + example.completion_ids.tobytes())
    return digest.hexdigest()


def _series(folder: Path) -> CheckpointSeries:
    return CheckpointSeries(folder / "checkpoints", _STATE, "model.sft_path")


def _updates(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))
