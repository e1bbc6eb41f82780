"""JSON files of a model folder and the like, read as objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import ConfigError


def read_object(file: Path) -> dict[str, Any]:
    """Return the object in a file, empty where there is no such file.

    Raises `ConfigError` for a file that cannot be read or holds something else.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); restore the file") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: not a JSON object; restore the file")
    return content
