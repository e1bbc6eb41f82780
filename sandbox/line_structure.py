"""A child's report on its program's lines, checked: which share a fate, which have run."""

from __future__ import annotations

from typing import Any

from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import LineStructure


def read_structure(description: dict[str, Any], lines: int) -> LineStructure:
    """Read a description of a program of `lines` lines. Raises `SandboxFault` for nonsense."""
    try:
        follows = description["follows"]
        sets = [tuple(_lines(entry, lines)) for entry in description["sets"]]
        described = LineStructure(
            code_lines=frozenset(_lines(description["code"], lines)),
            follows=tuple(sets[index] for index in follows),
            comment_lines=frozenset(_lines(description["comments"], lines)),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SandboxFault(f"a program's lines were described wrongly: {error}") from None
    if len(described.follows) != lines:
        raise SandboxFault(f"{len(described.follows)} of a program's {lines} lines were described")
    return described


def read_likeness(description: dict[str, Any]) -> tuple[float, float] | None:
    """Read how alike a program and its reference are; None where nobody asked, or it is unknown.

    Raises `SandboxFault` for nonsense.
    """
    found = description.get("likeness")
    if found is None:
        return None
    try:
        tree, flow = (float(share) for share in found)
    except (TypeError, ValueError) as error:
        raise SandboxFault(f"a program's likeness was described wrongly: {error}") from None
    if not (0 <= tree <= 1 and 0 <= flow <= 1):
        raise SandboxFault(f"a program's likeness to its reference is {tree}, {flow}")
    return tree, flow


def _lines(numbers: list[int], lines: int) -> list[int]:
    if not all(isinstance(n, int) and 1 <= n <= lines for n in numbers):
        raise ValueError("a line number is out of range")
    return numbers


def marked_lines(lines: bytes) -> list[int]:
    """Return the 1-based lines whose byte is set; index 0 is never used."""
    found, at = [], lines.find(1)
    while at > 0:
        found.append(at)
        at = lines.find(1, at + 1)
    return found
