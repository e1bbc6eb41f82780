"""How a test ended: by what the zygote saw and, where that leaves it open, by the child's report.

The zygote's word comes first: signals, clocks, memory kills, sizes. A child that lies about the
rest gains nothing, since only a right answer passes.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass

from sandbox.guest.layout import Claim, Killed, ScriptEnd
from sandbox.guest_link import RunReport
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.records import Limits, Outcome

_PEAK_SLACK_BYTES = 48 * 2**20
"""Resident memory that the interpreter has before the program takes any."""

_OUT_OF_TIME = (signal.SIGXCPU, signal.SIGKILL)
"""What the kernel sends at its limit of processor time: where the soft limit is the hard one, as it
is here, Linux sends SIGKILL."""

_CLAIMED = {
    Claim.FAILED: Outcome.RUNTIME_ERROR,
    Claim.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
    Claim.THREADS_LEFT: Outcome.RUNTIME_ERROR,
    Claim.UNREADABLE: Outcome.RUNTIME_ERROR,
    Claim.TOO_LARGE: Outcome.OUTPUT_LIMIT,
}

_SCRIPT_OUTCOMES = {
    ScriptEnd.PASSED: Outcome.PASSED,
    ScriptEnd.WRONG: Outcome.WRONG_ANSWER,
    ScriptEnd.FAILED: Outcome.RUNTIME_ERROR,
    ScriptEnd.OUT_OF_MEMORY: Outcome.OUT_OF_MEMORY,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """`outcome` None: there is an answer, which is to be compared."""

    outcome: Outcome | None
    detail: str = ""


def ending(report: RunReport, place: int, limits: Limits, *, called: bool) -> Ending:
    """Decide how the test at this place of a run ended. `called`: its answer is a return value."""
    record = report.records[place]
    was_last = place == max(0, report.last_begun)
    if was_last:
        exceeded = _exceeded(report, limits)
        if exceeded is not None:
            return exceeded
    written = report.answer_sizes[place]
    if called and was_last:
        written = max(written, report.scratch_bytes)
    if record.claim is Claim.OUT_OF_MEMORY:
        return Ending(Outcome.OUT_OF_MEMORY, record.detail)
    if written > limits.output_bytes:
        return Ending(Outcome.OUTPUT_LIMIT, f"wrote more than {limits.output_bytes} bytes")
    if was_last and report.killed:
        what, limit = (
            ("processor", limits.cpu_s)
            if report.killed is Killed.CPU
            else ("wall-clock", limits.wall_s)
        )
        return Ending(Outcome.TIMEOUT, f"ran for more than {limit:g} s of {what} time")
    if record.done:
        return Ending(_CLAIMED.get(record.claim), record.detail)
    return _cut_off(report, limits, called=called)


def script_outcome(verdict: bytes) -> tuple[Outcome, str]:
    """Return what an assert script says of a program that came to its end.

    Raises `ProblemError` for a script that no program can pass.
    """
    try:
        end, detail = json.loads(verdict)
        said, detail = ScriptEnd(end), str(detail)
    except (ValueError, TypeError, RecursionError):
        return Outcome.RUNTIME_ERROR, "its test_code ended without a verdict"
    if said is ScriptEnd.INVALID:
        raise ProblemError(f"its test_code {detail}")
    return _SCRIPT_OUTCOMES[said], detail


def _exceeded(report: RunReport, limits: Limits) -> Ending | None:
    """Return the ending for memory, as the kernel counted it."""
    if report.memory_kills:
        return Ending(Outcome.OUT_OF_MEMORY, "killed for memory")
    if report.peak_bytes > limits.memory_bytes + _PEAK_SLACK_BYTES:
        return Ending(Outcome.OUT_OF_MEMORY, f"used {report.peak_bytes >> 20} MiB")
    return None


def _cut_off(report: RunReport, limits: Limits, *, called: bool) -> Ending:
    """Return how a child that ended in the middle of a test ended it."""
    status = report.status
    if status == 0:
        if called:
            return Ending(Outcome.RUNTIME_ERROR, "it left before the function returned")
        return Ending(None)  # os._exit(0): what was written counts
    if status > 0:
        return Ending(Outcome.RUNTIME_ERROR, f"exit code {status}")
    if -status in _OUT_OF_TIME and report.cpu_ns >= limits.cpu_s * 1e9:
        # the kernel's limit, where the zygote's clock came too late on a busy machine
        return Ending(Outcome.TIMEOUT, f"ran for more than {limits.cpu_s:g} s of processor time")
    if -status == signal.SIGXFSZ:
        return Ending(Outcome.OUTPUT_LIMIT, "wrote more than the output limit")
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return Ending(Outcome.RUNTIME_ERROR, f"killed by {name}")
