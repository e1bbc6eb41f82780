"""Versions of installed packages, for the records of how something was made."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def version(package: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    return {name: found for name in packages if (found := version(name))}
