"""Which model a text names: a folder of this machine, or a name on the Hugging Face hub.

Driver, actors and learner ranks ask here, so that one text means one model in all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.paths import expanded

FIX = "run `stepcoder sft RUN.toml` first, or fix model.path (or --model)"

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_MADE_HERE = "runs/"
"""The default path of a warm start begins with this, and has the form of a hub name."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A folder that should hold a model, or a hub name."""

    text: str
    """What vLLM and transformers load: an absolute folder, or the name."""

    @property
    def folder(self) -> Path | None:
        """The folder; None for a hub name."""
        path = Path(self.text)
        return path if path.is_absolute() else None

    def checked(self, fix: str = FIX) -> ModelSource:
        """Raise `ConfigError` for a folder without a model; a hub name is not looked up."""
        if self.folder is not None and not holds_model(self.folder):
            raise _absent(self.folder, fix)
        return self

    def files(self, patterns: Sequence[str]) -> Path:
        """Return the folder, or the hub's copy of matching files, downloaded where necessary.

        Raises `ConfigError` where there is no such folder and the hub does not give one.
        """
        if self.folder is not None:
            if not self.folder.is_dir():
                raise _absent(self.folder, FIX)
            return self.folder
        # imported here: only a hub name needs it, and it takes a while
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(self.text, allow_patterns=list(patterns)))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            seen = f"no such folder, and the hub does not give it ({reason})"
            raise ConfigError(f"{self.text}: {seen}; {FIX}") from None


def find(written: str | Path) -> ModelSource:
    """Return the model that a run file, an option or another process names.

    A text is a hub name if it has the form of one, does not begin like a path, and is no folder
    here.
    """
    text = str(written)
    path = Path(expanded(text))
    named = _HUB_NAME.fullmatch(text) and not text.startswith(_MADE_HERE)
    return ModelSource(text if named and not path.exists() else str(path.resolve()))


def holds_model(folder: str | Path) -> bool:
    """Return whether a folder has a model's config.json."""
    return (Path(folder) / "config.json").is_file()


def _absent(folder: Path, fix: str) -> ConfigError:
    seen = "config.json is missing" if folder.exists() else "no such folder"
    return ConfigError(f"{folder}: no model there ({seen}); {fix}")
