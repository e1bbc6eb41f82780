"""Headless Chromium from the machine's own package, and what is left of it afterwards."""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
END_S = 20.0
"""A process that lives longer after its browser was closed was left behind."""


def binary() -> str:
    """The path of Chromium; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is installed; try `apt-get install chromium`")
    return found


@contextmanager
def launched(home: Path) -> Iterator[Browser]:
    """A browser whose settings and crash reports stand in `home`; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=binary(),
            args=["--no-sandbox"],  # CI is root, and Chromium refuses its sandbox to root
            env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        )
        try:
            yield browser
        finally:
            browser.close()


def family(home: Path) -> set[int]:
    """Ids of the browser's processes: those that know `home`, and those of their sessions.

    Renderers write over their environment, crash handlers leave the session: neither mark alone
    finds them all.
    """
    sessions: dict[int, int] = {}
    marked: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            known = str(home).encode() in (folder / "environ").read_bytes()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if state == "Z":
            continue
        process = int(folder.name)
        sessions[process] = int(session)
        if known and int(session) != os.getsid(0):
            marked.add(process)
    of_browser = {sessions[process] for process in marked}
    return {process for process, session in sessions.items() if session in of_browser}


def left_of(processes: set[int]) -> set[int]:
    """Those of `processes` that do not end by themselves in `END_S`."""
    left = set()
    for process in processes:
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(1000 * END_S):
                left.add(process)
        finally:
            os.close(handle)
    return left
