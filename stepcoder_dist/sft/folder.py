"""The lock of a warm start's folder: one writer, or many readers.

SFT replaces the folder at its end. A run reads it more than once (its actors and ranks do so again
after a failure) and must not find another model there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_source
from stepcoder_dist.host.files import draft_folder
from stepcoder_dist.run.run_folder import cannot_be_made, hold


@contextmanager
def writing(config: RunConfig) -> Iterator[None]:
    """Lock the folder against every other run; remove what an interrupted SFT left in drafts.

    Raises `ConfigError` while a live run writes or reads it, and where what would be replaced is
    the base or no model at all.
    """
    base = config.model.path
    if base and model_source.find(config.sft_folder) == model_source.find(base):
        raise ConfigError(f"SFT would replace its base {base}; set model.sft_path to a new folder")
    folder = Path(config.sft_folder)
    if not model_source.holds_model(folder):
        refuse_to_replace(folder, "set model.sft_path to a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(folder, error) from None
    lock = hold(_lock_of(folder), folder)
    try:
        yield
    finally:
        draft_folder.discard(folder)
        os.close(lock)


def refuse_to_replace(folder: Path, fix: str) -> None:
    """Refuse to let a checkpoint replace something of worth.

    Raises `ConfigError` for a file and for a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists already and would be replaced; {fix}")


@contextmanager
def reading(config: RunConfig) -> Iterator[None]:
    """Lock the folder against SFT. Where no lock can be made, nobody can write there either.

    Raises `ConfigError` while a live run writes it.
    """
    folder = Path(config.sft_folder)
    if not folder.is_dir() or not os.access(folder.parent, os.W_OK):
        yield
        return
    lock = hold(_lock_of(folder), folder, shared=True)
    try:
        yield
    finally:
        os.close(lock)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")
