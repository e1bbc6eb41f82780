"""Which files a model has on this machine, in a form that two machines can compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_source
from stepcoder_dist.host.files import known_digests

LOADED = ("*.json", "*.safetensors")
"""What engines and ranks load. Of the hub's copy the rest need not be here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What one machine has of a model; `missing` says why it has nothing."""

    path: str
    """The folder, or the hub's copy in this machine's cache."""
    digests: Mapping[str, tuple[int, str]]
    """Bytes and SHA-256 by name: config.json and the weights."""
    missing: str = ""

    def difference(self, other: ModelFiles) -> str:
        """Return the first file of which this machine has another than `other`; empty for none."""
        for name in sorted({*self.digests, *other.digests}):
            mine, theirs = self.digests.get(name), other.digests.get(name)
            if mine is None:
                return f"{name} is missing"
            if theirs is None:
                return f"{name} is one file too many"
            if mine[0] != theirs[0]:
                return f"{name} has {mine[0]:,} bytes instead of {theirs[0]:,}"
            if mine[1] != theirs[1]:
                return f"{name} has other content (SHA-256 {mine[1][:12]}, not {theirs[1][:12]})"
        return ""


def of(text: str) -> ModelFiles:
    """Look at the model that `text` names; what a hub name lacks here is downloaded."""
    try:
        folder = model_source.find(text).checked("").files(LOADED)
        files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
        digests = {file.name: (file.stat().st_size, known_digests.of(file)) for file in files}
    except ConfigError as error:
        # without the advice, which is for a machine on its own
        return ModelFiles(path=text, digests={}, missing=str(error).rpartition(";")[0])
    except OSError as error:
        return ModelFiles(path=text, digests={}, missing=f"{text}: {error.strerror or error}")
    return ModelFiles(path=str(folder), digests=digests)
