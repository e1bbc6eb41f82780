"""Probes of things that do not work, for the children of `test_doctor.py`."""

from __future__ import annotations

import os
import signal
import sys
import time

from stepcoder_dist.doctor.examination import Finding, Mark


def works() -> list[Finding]:
    print("libraries print what they like")
    return [Finding("works", Mark.WORKS, "seen")]


def missing_package() -> list[Finding]:
    import a_package_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401

    return []


def segmentation_fault() -> list[Finding]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def leaves_with(code: int) -> list[Finding]:
    sys.exit(code)


def hangs() -> list[Finding]:
    time.sleep(600)
    return []


def raises_a_page() -> list[Finding]:
    raise RuntimeError("the first line says it\n" + "and more\n" * 40)
