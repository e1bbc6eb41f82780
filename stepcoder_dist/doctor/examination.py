"""`stepcoder doctor`: what works on this machine, one line each, with a way to fix the rest.

A probe is a small function of the role that it is about (`sandbox/probes.py`, …) that returns
`Finding`s. It runs in a process of its own with a time limit: a package that raises at import, or
takes the interpreter down with it, costs one line and not the command. Probes run in parallel.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from stepcoder_dist.host import collector

_ANSWER = "stepcoder-doctor-answer:"
"""The line of a child's output that is for us begins with this; libraries print what they like."""
_CHILD = "from stepcoder_dist.doctor.examination import answer; answer()"
_SEEN_CHARS = 200
_AT_A_TIME = 6


class Mark(StrEnum):
    WORKS = "works"
    CAUTION = "caution"
    """Works worse than it could, or is not needed here."""
    FAILS = "fails"
    """What was asked for cannot work."""


_SIGNS = {Mark.WORKS: "✓", Mark.CAUTION: "!", Mark.FAILS: "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: its subject, whether it works, what was seen, and a command that fixes it."""

    subject: str
    mark: Mark
    seen: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{_SIGNS[self.mark]} {self.subject:<16} {self.seen}"
        return f"{line}\n  {'':<16} → {self.fix}" if self.fix else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Functions of one module and their arguments, called in one process of their own."""

    subject: str
    """Subject of the line that is written when the process gives no answer."""
    module: str
    calls: Mapping[str, Mapping[str, Any]]
    """Function -> its keyword arguments, as JSON values."""
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 60
    fix: str = ""
    """Fix of the lines that are written when the process gives no answer or a function raises."""


def examine(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Run all probes in parallel; yield their findings in the given order."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for found in pool.map(run_probe, probes):
            yield from found


def run_probe(probe: Probe) -> list[Finding]:
    """Return the findings of one probe, or one that says how its process ended."""
    order = {
        "subject": probe.subject,
        "module": probe.module,
        "calls": probe.calls,
        "fix": probe.fix,
    }
    child = subprocess.Popen(  # noqa: S603 (our own code)
        [sys.executable, "-c", _CHILD, json.dumps(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | dict(probe.environment),
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=probe.timeout_s)
    except subprocess.TimeoutExpired:
        # the entire session: what the probe started ends with it
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        seen = f"no answer within {probe.timeout_s:g} s"
        return [Finding(probe.subject, Mark.FAILS, seen, probe.fix)]
    answers = [line for line in output.splitlines() if line.startswith(_ANSWER)]
    if not answers:
        return [Finding(probe.subject, Mark.FAILS, _ending(child.returncode), probe.fix)]
    rows = json.loads(answers[-1].removeprefix(_ANSWER))
    return [Finding(**{**row, "mark": Mark(row["mark"])}) for row in rows]


def answer() -> None:
    """Call the functions that the last argument names and print their findings, in the child."""
    order = json.loads(sys.argv[-1])
    findings: list[Finding] = []
    for name, arguments in order["calls"].items():
        try:
            with collector.resting():  # most of a probe's time is imports
                function = getattr(importlib.import_module(order["module"]), name)
                findings += function(**arguments)
        except Exception as error:  # noqa: BLE001 (a broken package raises what it likes)
            findings.append(Finding(order["subject"], Mark.FAILS, first_line(error), order["fix"]))
    rows = json.dumps([asdict(finding) for finding in findings])
    sys.stdout.write(f"\n{_ANSWER}{rows}\n")
    sys.stdout.flush()


def first_line(error: BaseException) -> str:
    """Return an error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else repr(error)
    name = type(error).__name__
    return (text if isinstance(error, OSError) or not lines else f"{name}: {text}")[:_SEEN_CHARS]


def works(findings: Iterable[Finding]) -> bool:
    """Return whether no finding fails."""
    return all(finding.mark is not Mark.FAILS for finding in findings)


def summary(findings: Sequence[Finding], run_file: str) -> str:
    """Return the last line for a reader."""
    failing = [finding.subject for finding in findings if finding.mark is Mark.FAILS]
    if failing:
        return f"{run_file} cannot work here: {', '.join(failing)}"
    return f"{run_file} can work here"


def as_json(findings: Sequence[Finding], run_file: str | None) -> str:
    """Write `{"run_file", "works", "findings": [{"subject", "mark", "seen", "fix"}]}`."""
    rows = [asdict(finding) for finding in findings]
    return json.dumps({"run_file": run_file, "works": works(findings), "findings": rows})


def _ending(code: int) -> str:
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with code {code} and without an answer"
