"""The folder of one run: its lock, and its files.

config.toml                resolved
metrics.jsonl              one object for each step
samples.jsonl              one object for each trained sample (docs/report.md)
ledger.jsonl               the fate of every sample (ledger.py; `stepcoder ledger`)
trace.jsonl                what happened when (trace_rows.py; `stepcoder trace`)
heldout.jsonl              one object for each evaluation during training (docs/evaluation.md)
trackers.json              which runs of W&B and MLflow go with it (trackers.py)
tensorboard/
eval/<label>.jsonl         one object for each evaluated sample
report.html                what `stepcoder report` makes of all this
nonfinite/step_000010.npz  the batch of a step that was not finite (nonfinite_batches.py)
checkpoints/step_000010/   learner/ and run.json; complete or absent
hf/step_000010/            the policy as a Hugging Face folder; complete or absent
"""

from __future__ import annotations

import json
import os
import re
import threading
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, InUse
from stepcoder_dist.evaluation import file as evaluation_file
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.host.files import atomic_file, draft_folder, file_lock, json_lines
from stepcoder_dist.host.files.json_lines import append_rows
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.paths import runs_root
from stepcoder_dist.records import WeightVersion
from stepcoder_dist.run import heldout_rows
from stepcoder_dist.run.account import ledger
from stepcoder_dist.run.account.ledger import Ledger
from stepcoder_dist.run.checkpoint_series import CheckpointSeries, is_of_a_step
from stepcoder_dist.run.run_file import describe
from stepcoder_dist.run.sample_rows import sample_rows
from stepcoder_dist.run.sinks import trackers
from stepcoder_dist.run.tracing import trace_rows

_BEFORE_THE_FIRST_STEP = (heldout_rows.NAME, ledger.NAME, trace_rows.NAME, trackers.NAME)
"""Files that a run which ended before its first step can have left."""


class RunFolder:
    """Holds the folder's lock from opening to `close`."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        """Open or make the folder.

        Raises `InUse` when a live run holds it, `ConfigError` when it cannot be made.
        """
        # absolute, because the learner's ranks write into it from other working folders
        self.path = path.resolve()
        self._config = config
        self._ledger: Ledger | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_be_made(path, error) from None
        self._lock = hold(self.path / ".lock", path)
        self._removing = threading.Lock()
        self._sweep()

    def write_config(self) -> None:
        """Write the resolved config: when a run begins, or a resumed one has been checked."""
        atomic_file.write_text(self.path / "config.toml", describe(self._config) + "\n")

    @classmethod
    def fresh(cls, config: RunConfig) -> RunFolder:
        """Open a folder for a new run: `runs/<name>`, or the next free `runs/<name>-2`, `-3`, …

        A `run_dir` that the user named is taken as it is. Raises `ConfigError` when it already
        holds a run.
        """
        folder = cls._unused(config)
        # an attempt that ended before its first step left no more than this
        for name in _BEFORE_THE_FIRST_STEP:
            (folder.path / name).unlink(missing_ok=True)
        return folder

    @classmethod
    def _unused(cls, config: RunConfig) -> RunFolder:
        if config.run_dir:
            folder = cls(Path(config.run_dir), config)
            if _used(folder.path):
                resume = "pass --resume to continue it" if checkpoints(folder.path) else ""
                folder.close()
                raise ConfigError(
                    f"{config.run_dir}: already holds a run; "
                    f"{resume or 'it has no checkpoint to resume: remove it'}, "
                    "or choose another run_dir"
                )
            return folder
        for number in count(1):
            path = runs_root() / (config.name + (f"-{number}" if number > 1 else ""))
            if not _used(path):
                with suppress(InUse):
                    return cls(path, config)
        raise AssertionError("numbers do not end")

    @classmethod
    def latest(cls, config: RunConfig) -> RunFolder:
        """Open the folder to resume: `run_dir`, or the newest `runs/<name>[-N]` with a checkpoint.

        Raises `ConfigError` where there is none.
        """
        candidates = [Path(config.run_dir)] if config.run_dir else _named(config)
        with_checkpoint = [path for path in candidates if checkpoints(path)]
        if not with_checkpoint:
            where = config.run_dir or runs_root() / config.name
            raise ConfigError(f"{where}: no checkpoint to resume; start a new run without --resume")
        newest = max(with_checkpoint, key=lambda path: checkpoints(path)[-1].stat().st_mtime)
        return cls(newest, config)

    @classmethod
    def begun(cls, config: RunConfig) -> RunFolder:
        """Open the folder of a command of several stages, to do what is left of it.

        It is `run_dir`, or the newest `runs/<name>[-N]` with a checkpoint or an evaluation; without
        one, that of a new run. Rows of steps without a checkpoint after them are dropped.
        """
        named = [Path(config.run_dir)] if config.run_dir else _named(config)
        if not (begun := [path for path in named if _stages(path)]):
            return cls.fresh(config)
        folder = cls(max(begun, key=lambda path: max(_stages(path))), config)
        if not checkpoints(folder.path):
            for name in ("metrics.jsonl", "samples.jsonl", *_BEFORE_THE_FIRST_STEP):
                (folder.path / name).unlink(missing_ok=True)
        return folder

    def close(self) -> None:
        """Release the folder. The processes that write into it must have ended."""
        self._sweep()
        os.close(self._lock)

    def _sweep(self) -> None:
        """Remove the drafts of a run that was interrupted; the lock excludes a live run."""
        series_of(self.path).sweep()
        draft_folder.sweep(self.path / "hf")
        for draft in self.path.glob(".*.draft"):
            draft.unlink(missing_ok=True)

    def append_samples(self, step: int, batch: Sequence[JudgedSample]) -> None:
        """Append one row for each sample that the step trained (`sample_rows.py`)."""
        append_rows(self.path / "samples.jsonl", sample_rows(step, batch, self._config))

    def open_ledger(self, problem_ids: Sequence[str]) -> Ledger:
        """Return the account of the run's samples; it is one object, whoever asks."""
        if self._ledger is None:
            self._ledger = Ledger(self.path, self._config, problem_ids)
        return self._ledger

    def cut_after(self, version: WeightVersion) -> None:
        """Drop the rows and policies of steps that a resumed run will do again."""
        for name in ("metrics.jsonl", "samples.jsonl", heldout_rows.NAME, trace_rows.NAME):
            json_lines.cut_after(self.path / name, version)
        for policy in (self.path / "hf").glob("step_*"):
            if is_of_a_step(policy) and policy.name > self.hf_folder(version).name:
                draft_folder.remove(policy)

    def hf_folder(self, version: WeightVersion) -> Path:
        """Return where a step's policy lies as a Hugging Face folder, if it was asked for."""
        return self.path / "hf" / f"step_{version:06d}"

    def write_evaluation(self, label: str, samples: Sequence[EvaluatedSample]) -> Path:
        """Write `eval/<label>.jsonl`, complete or not at all."""
        out = self.path / "eval" / f"{label}.jsonl"
        out.parent.mkdir(exist_ok=True)
        evaluation_file.write(out, samples)
        return out

    def begin_checkpoint(self, version: WeightVersion) -> Path:
        """Make an empty folder to write to; it is invisible until `commit_checkpoint`."""
        return series_of(self.path).begin(version)

    def commit_checkpoint(self, draft: Path, state: Mapping[str, Any]) -> Path:
        """Add the run's own state and make the checkpoint visible in one rename.

        Raises `RunError` when the learner's part is missing.
        """
        return series_of(self.path).commit(draft, json.dumps(state))

    def remove_old_checkpoints(self) -> None:
        """Leave the newest `train.keep_checkpoints`, and the best by held-out pass@1.

        The newest of all is the one that a resume needs. Of equal scores the later wins. Any
        thread may call this: large folders take a while.
        """
        keep = self._config.train.keep_checkpoints
        if keep:
            with self._removing:
                self._remove_all_but(keep)

    def _remove_all_but(self, keep: int) -> None:
        present = checkpoints(self.path)
        if len(present) <= keep:
            return
        scores = heldout_rows.pass_at_1_by_step(self.path / heldout_rows.NAME)
        scored = [
            (score, path)
            for path in present
            if (score := scores.get(int(path.name.removeprefix("step_")))) is not None
        ]
        kept = set(present[-keep:])
        if scored:
            kept.add(max(scored)[1])
        for path in present:
            if path not in kept:
                draft_folder.remove(path)


def hold(lock: Path, what: Path, *, shared: bool = False) -> int:
    """Lock `what` for this process by a file; return the descriptor that holds it.

    Raises `InUse` when a live run holds it, `ConfigError` when the file cannot be made.
    """
    try:
        return file_lock.hold(lock, shared=shared)
    except BlockingIOError:
        raise InUse(f"{what}: in use by a live run; wait for it or choose another folder") from None
    except OSError as error:
        raise cannot_be_made(what, error) from None


def is_live(run_dir: Path) -> bool:
    """Return whether a live run holds the folder."""
    lock = run_dir / ".lock"
    if not lock.exists():
        return False
    try:
        os.close(file_lock.hold(lock, shared=True))
    except BlockingIOError:
        return True
    except (OSError, ConfigError):  # a copy of the folder that cannot be written to
        return False
    return False


def cannot_be_made(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be a run directory ({error.strerror}); choose another run_dir"
    )


def checkpoints(run_dir: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return series_of(run_dir).complete()


def series_of(run_dir: Path) -> CheckpointSeries:
    return CheckpointSeries(run_dir / "checkpoints", "run.json", "run_dir")


def _named(config: RunConfig) -> list[Path]:
    """Return `runs/<name>` and its numbered successors."""
    numbered = re.compile(re.escape(config.name) + r"(-\d+)?")
    found = (path for path in runs_root().glob("*") if numbered.fullmatch(path.name))
    return [path for path in found if _may_be_of(path, config.name)]


def _may_be_of(path: Path, name: str) -> bool:
    """Return False for a run that another run file names: `llama-3` is not the third of `llama`."""
    if path.name == name:
        return True
    try:
        written = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return bool(written.get("name", name) == name)


def _stages(path: Path) -> list[float]:
    """Return when the evaluations and checkpoints of a folder were written."""
    return [each.stat().st_mtime for each in (*path.glob("eval/*.jsonl"), *checkpoints(path))]


def _used(path: Path) -> bool:
    return (path / "metrics.jsonl").exists() or bool(checkpoints(path))
