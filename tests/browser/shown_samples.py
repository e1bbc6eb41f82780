"""Which sample of a run, and how to have the page show it."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page, expect

Rows = list[dict[str, Any]]


def show_sample(page: Page, sample_id: str) -> None:
    """Click the sample in the list, and wait until it is the one that is shown."""
    samples = json.loads(page.locator("#data").text_content() or "")["samples"]
    place = next(i for i, sample in enumerate(samples) if sample["id"] == sample_id)
    option = page.locator(f"#option-{place}")
    option.click()
    expect(option).to_have_attribute("aria-selected", "true")


def a_row(rows: Rows, kind: int, stage: int = 1) -> dict[str, Any]:
    """The first sample of one of run_for_tests.written's kinds."""
    return next(r for r in rows if r["stage"] == stage and r["sample_id"].endswith(f"{kind:04d}"))
