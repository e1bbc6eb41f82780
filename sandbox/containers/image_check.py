"""Can this image be the sandbox's? Looked at from outside, then from inside, as a program sees it.

An image needs Python 3.12 or newer as `python3`, which every user can read, and the packages that
programs are promised. It must not declare volumes: they would be writable and outlive a program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import docker

from sandbox.confinement.bounds import LOWEST_PYTHON
from sandbox.containers.container import Container
from sandbox.endings import ending
from sandbox.guest import plain_data
from sandbox.guest.source.statement_lines import physical_lines
from sandbox.guest_link import RunReport
from sandbox.orders import order_for, pack_program
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import Limits

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LOWEST = ".".join(map(str, LOWEST_PYTHON))
_ASKED = """
import json, os, sys
def look(names):
    found = {}
    for name in names:
        try:
            __import__(name)
            found[name] = str(getattr(sys.modules[name], '__version__', ''))
        except BaseException as error:
            found[name] = [type(error).__name__, str(error)[:150]]
    return json.dumps([sys.version.split()[0], os.getuid(), found])
"""
"""Runs as a program does: unprivileged, under its limits."""
_STANDARD = (
    *("array", "bisect", "collections", "ctypes", "datetime", "decimal", "fractions", "hashlib"),
    *("heapq", "itertools", "random", "re", "statistics", "string", "typing"),
)
"""Modules of the standard library that distributions split off, or that programs lean on."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the image will not do, and a way to fix it."""

    seen: str
    fix: str


def examine(
    client: docker.DockerClient, image: str, packages: Sequence[str], limits: Limits
) -> str | Trouble:
    """Return what the image has, in words, or what is wrong with it."""
    declared = client.images.get(image).attrs
    trouble = _from_outside(declared, str(client.info().get("Architecture", "")))
    if trouble is not None:
        return trouble
    try:
        worker = Container(client, image, limits)
    except SandboxFault as fault:
        return _not_started(str(fault))
    try:
        report = _answer(worker, [*_STANDARD, *packages], limits)
    except SandboxFault as fault:
        return Trouble(str(fault), "try another base")
    finally:
        worker.close()
    ended = ending(report, 0, limits, called=True)
    if ended.outcome is not None or report.answers[0] is None:
        return Trouble(
            f"its Python does not work for an unprivileged user: {ended.detail}",
            "let every user read its Python: RUN chmod -R a+rX on its folder",
        )
    version, user, found = json.loads(plain_data.decode(report.answers[0]))
    return _from_inside(version, user, found, packages)


def _answer(worker: Container, names: list[str], limits: Limits) -> RunReport:
    blobs = [
        pack_program(_ASKED, "", "look", describe="", share=False),
        plain_data.encode([names]),
    ]
    return worker.run(order_for(limits, blobs, lines=len(physical_lines(_ASKED))), blobs)


def _not_started(reason: str) -> Trouble:
    lacks_python = re.search(r"python3.*(not found|no such file)", reason, re.IGNORECASE)
    if lacks_python or f"needs {_LOWEST}" in reason:
        return Trouble(_shortened(reason), f"use a base with Python {_LOWEST} or newer as python3")
    return Trouble(_shortened(reason), "docker run --rm IMAGE python3 --version shows more")


def _shortened(reason: str) -> str:
    """Return an engine's error without the address that it was asked at."""
    quoted = re.search(r'\("(.*)"\)$', reason)
    return (quoted[1] if quoted else reason)[:200]


def _from_inside(
    version: str, user: int, found: dict[str, Any], packages: Sequence[str]
) -> str | Trouble:
    if user == 0:
        return Trouble("programs run as root in it", "report this: it should not be possible")
    missing = {name: why for name, why in found.items() if isinstance(why, list)}
    standard = [name for name in missing if name in _STANDARD]
    if standard:
        return Trouble(
            f"an unprivileged user of its Python {version} cannot import {', '.join(standard)}",
            "install the complete standard library (Debian: libpython3-stdlib); if it is there, "
            "let every user read it: RUN chmod -R a+rX on its folder",
        )
    for name, (kind, why) in missing.items():
        if kind == "ModuleNotFoundError":
            build = f"make sandbox-image PACKAGES={name}"
            return Trouble(f"it lacks the package {name}", f"{build}, or RUN pip install {name}")
        return Trouble(f"import {name} fails there: {kind}: {why}", "fix or drop the package")
    listed = "".join(f", {name} {found[name]}".rstrip() for name in packages)
    return f"Python {version}{listed}; programs run as user {user}"


def _from_outside(declared: dict[str, Any], engine: str) -> Trouble | None:
    volumes = (declared.get("Config") or {}).get("Volumes") or {}
    if volumes:
        return Trouble(
            f"it declares {', '.join(volumes)} as a volume, which programs could write to and "
            "find again",
            "build it from a base without VOLUME",
        )
    built_for = str(declared.get("Architecture", ""))
    wanted = _ARCHITECTURES.get(engine, engine)
    if built_for and wanted and built_for != wanted:
        return Trouble(f"it is built for {built_for}, the engine runs {wanted}", "build it there")
    return None
