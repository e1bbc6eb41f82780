"""JSON that others may have written or damaged, and JSON files of a model folder and the like."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeGuard

from stepcoder_dist.errors import ConfigError


def parsed(text: str | bytes) -> Any:
    """Return the value of a text. Raises `ValueError`, also for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_figure(value: Any) -> TypeGuard[float]:
    """Return whether a value of a row is a finite number, of a size that a float can have."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def read_object(file: Path) -> dict[str, Any]:
    """Return the object in a file, empty where there is no such file.

    Raises `ConfigError` for a file that cannot be read or holds something else.
    """
    if not file.is_file():
        return {}
    try:
        content = parsed(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); restore the file") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: not a JSON object; restore the file")
    return content
