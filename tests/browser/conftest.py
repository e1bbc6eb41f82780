"""One run directory, its page made by the real command, and a browser that watches it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium_processes import binary, family, launched, left_of
from made_report import make_report
from playwright.sync_api import Browser, Page
from run_for_tests import write_run
from watched_page import Watch

FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
"""Charts are drawn when the browser reports their width, which it does by the second frame."""


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary()
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def report_page(run_dir: Path) -> Path:
    return make_report(run_dir, run_dir / "report.html")


@pytest.fixture(scope="session")
def metrics(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def rows(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in (run_dir / "samples.jsonl").read_text().splitlines()]


# not for the session: playwright keeps an event loop in this thread, no other test could run one
@pytest.fixture(scope="module")
def browser(report_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    del report_page  # made before the browser's event loop: making it runs one of its own
    home = tmp_path_factory.mktemp("chromium")
    processes: set[int] = set()
    try:
        with launched(home) as opened:
            yield opened
            processes = family(home)
            assert len(processes) > 1
    finally:
        assert left_of(processes | family(home)) == set()


@pytest.fixture
def open_page(browser: Browser, report_page: Path) -> Iterator[Callable[..., Page]]:
    """Opens the report, or another file, offline; what it asks for or complains of is a failure."""
    watches: list[Watch] = []

    def opened(path: Path = report_page, **options: Any) -> Page:
        settings = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(offline=True, **(settings | options))
        context.set_default_timeout(10_000)
        page = context.new_page()
        watches.append(Watch(page, path))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-drawn=yes]")
        page.evaluate(FRAMES)
        return page

    try:
        yield opened
        assert [watch.seen() for watch in watches] == [[]] * len(watches)
    finally:
        for watch in watches:
            watch.page.context.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The report on a desk, in light colours."""
    return open_page(color_scheme="light")


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page go: the folder that was asked for, else one that is forgotten."""
    asked = request.config.getoption("--screenshots")
    folder = Path(asked).resolve() if asked else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pictured(
    request: pytest.FixtureRequest, report_page: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The page that is pictured: of the run that was named, else of the fixture's."""
    named = request.config.getoption("--screenshots-of")
    if not named:
        return report_page
    return make_report(Path(named).resolve(), tmp_path_factory.mktemp("pictured") / "report.html")
