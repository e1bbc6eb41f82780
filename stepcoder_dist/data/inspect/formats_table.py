"""The answer of `stepcoder data formats`."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from stepcoder_dist.host.console import open_console
from stepcoder_dist.problems.formats import FORMATS


def as_json() -> list[dict[str, Any]]:
    return [
        {
            "name": known.name,
            "about": known.about,
            "keys": known.keys,
            "one_key_is_enough": known.any_key,
        }
        for known in FORMATS
    ]


def print_table() -> None:
    """Print the formats in the order in which a row is compared with them."""
    table = Table(title="A row has the first format whose keys it has", show_lines=True)
    for column in ("format", "keys", "what it is"):
        table.add_column(column)
    for known in FORMATS:
        joint = " or " if known.any_key else ", "
        table.add_row(known.name, joint.join(known.keys), known.about)
    open_console().print(table)
