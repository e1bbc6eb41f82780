"""The tables and figures of an ablation: a part of a Markdown page, and SVG files with the results.

They are made from the results alone, so that anyone can make them again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepcoder_dist.ablation import figures, made_on, tables
from stepcoder_dist.ablation.plan import Plan
from stepcoder_dist.ablation.result import Result
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import atomic_file, output_file

BEGIN = "<!-- stepcoder ablate: from here to the end marker, written from the results -->"
END = "<!-- stepcoder ablate: end -->"
_FIX = "choose another out or page"


def write(plan: Plan, results: Mapping[str, Sequence[Result]]) -> list[Path]:
    """Write the figures, then the page's part between its markers; return the files.

    Raises `ConfigError` for a page with one marker only, or that cannot be written.
    """
    body = [BEGIN, ""]
    written = []
    output_file.prepare(plan.page, _FIX)
    for setting in plan.file.settings:
        body += [f"## Setting: {setting.name}", ""]
        body += [setting.about, ""] if setting.about else []
        found = results.get(setting.name, ())
        if not found:
            body += ["Nothing measured yet.", ""]
            continue
        body += tables.tables(plan, found)
        for name, title, svg in figures.figures(plan, found):
            path = plan.out / f"{setting.name}-{name}.svg"
            _write(path, svg)
            written.append(path)
            link = os.path.relpath(path, plan.page.parent)
            body += [f"![{title}, setting {setting.name}]({link})", ""]
    body += [*made_on.section(plan, results), END]
    _write(plan.page, _with(plan, "\n".join(body)))
    return [*written, plan.page]


def _write(path: Path, text: str) -> None:
    with output_file.writing(path, _FIX, ConfigError):
        atomic_file.write_text(path, text)


def _with(plan: Plan, part: str) -> str:
    """Return the page with its part replaced; only the part where there was no page."""
    if not plan.page.exists():
        return f"# {plan.file.name}\n\n{part}\n"
    text = plan.page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return before + part + after
    if begin or END in text:
        raise ConfigError(
            f"{plan.page}: has only one of the two markers; restore it, or remove both"
        )
    return f"{text.rstrip()}\n\n{part}\n"
