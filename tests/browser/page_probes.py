"""Questions to a page that only its browser can answer: contrast, sizes, focus."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page

PROBES = Path(__file__).parent
CONTROLS = "a[href], button, select, input, summary, [tabindex='0']"

LOW_CONTRAST = (PROBES / "low_contrast.js").read_text()
SIZES = (PROBES / "sizes.js").read_text()
REACHABLE = (PROBES / "reachable.js").read_text()
FOCUSED = (PROBES / "focused.js").read_text()

FILLED = (
    "![...document.querySelectorAll('details[open] > .scroll')].some((part) => !part.firstChild)"
)


def open_all_tables(page: Page) -> None:
    """Open everything that can be opened, and wait for the tables, which are made afterwards."""
    for summary in page.locator("summary").all():
        summary.click()
    page.wait_for_function(FILLED)


def low_contrast(page: Page, least: float = 4.5) -> tuple[list[Any], int]:
    """[text, class, ratio] of all text that stands out less than `least`; how many were asked."""
    found = page.evaluate(LOW_CONTRAST, least)
    return found["low"], found["count"]


def ring_pixels(page: Page, focused: dict[str, Any]) -> int:
    """Pixels in the colour of the focused element's outline, in and just around its box."""
    left, top, width, height = focused["box"]
    size = page.viewport_size
    assert size is not None
    x, y = max(0.0, left - 5), max(0.0, top - 5)
    clip = {
        "x": x,
        "y": y,
        "width": max(1.0, min(size["width"], left + width + 5) - x),
        "height": max(1.0, min(size["height"], top + height + 5) - y),
    }
    picture = Image.open(BytesIO(page.screenshot(clip=clip))).convert("RGB")
    colour = tuple(int(part) for part in focused["outline"][2][4:-1].split(","))
    return sum(
        count
        for count, seen in picture.getcolors(picture.width * picture.height)
        if max(abs(one - other) for one, other in zip(seen, colour, strict=True)) <= 24
    )
