"""The report for every reader: by keyboard, in either theme, on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from page_probes import (
    CONTROLS,
    FOCUSED,
    REACHABLE,
    SIZES,
    low_contrast,
    open_all_tables,
    ring_pixels,
)
from playwright.sync_api import Page
from shown_samples import Rows, a_row, show_sample

pytestmark = pytest.mark.chromium


def test_tab_reaches_every_control_and_shows_where_it_is(page: Page):
    wanted = page.evaluate(REACHABLE, CONTROLS)
    page.evaluate("document.activeElement.blur()")
    reached, hidden = [], []
    for _ in wanted:
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        reached.append(focused["probe"])
        _, top, _, height = focused["box"]
        style, width, _ = focused["outline"]
        inside = top + min(height, 20) > focused["bar"] and top < 900
        if style == "none" or width < 2 or not inside or ring_pixels(page, focused) < 30:
            hidden.append(focused["name"])
    assert reached == wanted
    assert len(wanted) > 40
    assert hidden == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(
    open_page: Callable[..., Page], rows: Rows, scheme: str
):
    page = open_page(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 22, 26)"}[scheme]
    open_all_tables(page)
    for kind in (1, 3, 4):
        show_sample(page, a_row(rows, kind)["sample_id"])
        low, count = low_contrast(page)
        assert (low, count > 300) == ([], True)
    page.get_by_role("button", name="Log-probs").click()
    assert low_contrast(page)[0] == []
    # the probe itself: text in nearly the colour of its ground is found
    page.evaluate("document.querySelector('h1').style.color = 'rgb(128 128 128 / 0.6)'")
    assert [text for text, *_ in low_contrast(page)[0]] == ["clamp"]


def test_the_theme_can_be_chosen_against_the_system(page: Page):
    page.get_by_role("button", name="Dark").click()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(20, 22, 26)"


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_sideways_scrolling_and_no_fine_fingers(
    open_page: Callable[..., Page], rows: Rows, width: int
):
    page = open_page(viewport={"width": width, "height": 844}, is_mobile=True, has_touch=True)
    open_all_tables(page)
    show_sample(page, a_row(rows, 1)["sample_id"])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [entry for entry in page.evaluate(SIZES) if entry[2] < 40] == []
