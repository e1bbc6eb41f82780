"""Every exception that this project raises on purpose and that leaves the module that raises it.

    StepcoderError              what a command ends with
    ├── UserError               the user's mistake: one line, exit code 2, never a traceback
    │   ├── ConfigError         a run file: unknown key, impossible combination, missing file
    │   │   └── InUse           a folder that a live run holds
    │   ├── ProblemError        a row of a problem set: file, line, what is wrong
    │   └── MissingEngine       a component that this machine lacks, with the way to get it
    └── RunError                something broke while running: exit code 1
        ├── SandboxFault        the sandbox's own failure; never a verdict about a program
        │   ├── CheckerFault    a problem's own checker failed: another try would not help
        │   └── EngineAway      no engine answers: waited for, and no try of any program's
        ├── Unresponsive        a process hangs: it lives and answers nothing
        ├── EngineLost          a rollout actor's engine broke: the pool replaces the process
        ├── ShareLost           a rollout actor was lost with a share, or refused it
        ├── AwaitsWeights       a rollout actor without one complete weight version
        ├── WeightPushError     a push that did not reach every actor complete
        │   ├── ArrivalError    an actor took it, and does not answer as the learner does
        │   └── TransferLost    it broke in the middle: ranks and actors may wait for ever
        └── LearnerError        the learner's ranks could not do a step

    How a command ends early:
    Interrupted                 a signal ended the command: exit code 130 (SIGINT) or 143 (SIGTERM)
    StopAsked                   a run that was asked to stop has come to a safe place

    Answers of a reader to its caller, caught inside the package that raises them:
    RowError                    problems/: what is wrong with a row, without its place
    NotPlain                    problems/: source that is no plain data
    Unlike                      data/augment/: an input that is not of the format
    Malformed                   run/: a row that no ledger has

The guest has its own, for it imports nothing of ours. A message says what was wrong, what was seen,
and what to do.
"""

from __future__ import annotations

import signal


class StepcoderError(Exception):
    """Base of all errors raised by this project."""

    exit_code = 1


class UserError(StepcoderError):
    """A mistake that the user can fix. The command line prints it as one line."""

    exit_code = 2


class ConfigError(UserError):
    """A run file that cannot be used as it is."""


class InUse(ConfigError):
    """A live run holds the folder."""


class ProblemError(UserError):
    """A row of a problem set that cannot be used as it is."""


class MissingEngine(UserError):
    """A component that the run file asks for and this machine does not have."""


class Interrupted(BaseException):
    """A signal ended the command. No `Exception`: a library that it passes must not swallow it."""

    def __init__(self, by: signal.Signals, what: str = "") -> None:
        super().__init__(f"stopped by {by.name}" + (f"; {what}" if what else ""))
        self.exit_code = 128 + by


class StopAsked(Exception):
    """Raised inside a run at its next safe place after somebody asked it to stop."""


class RunError(StepcoderError):
    """Something broke while the system was running."""


class SandboxFault(RunError):
    """The sandbox failed, not the program: no verdict, no reward; retry elsewhere."""


class CheckerFault(SandboxFault):
    """A problem's checker raised, ran over a limit or gave no answer; not tried again."""


class EngineAway(SandboxFault):
    """The container engine does not answer: nothing that a program could have done."""


class Unresponsive(RunError):
    """A process lives and answers nothing: whoever owns it ends it and starts another."""


class EngineLost(RunError):
    """vLLM's engine broke: this process will not sample again; the pool replaces it."""


class ShareLost(RunError):
    """A rollout actor was lost while it sampled a share, or refused it: perhaps because of it."""


class AwaitsWeights(RunError):
    """The actor does not hold one complete weight version: only a complete push helps."""


class WeightPushError(RunError):
    """A weight version did not reach a rollout actor complete."""


class ArrivalError(WeightPushError):
    """An actor took a weight version and does not answer as the learner does: no use sampling."""


class TransferLost(WeightPushError):
    """A transfer between ranks and actors broke in the middle: some may wait in it for ever."""


class LearnerError(RunError):
    """The learner's ranks could not complete a step."""


class RowError(ValueError):
    """An error in a row, without its place; the reader adds file, line and id."""


class NotPlain(Exception):
    """A node that is no plain data, or an assert of no known form."""


class Unlike(ValueError):
    """An input, or arguments, that are not of the format."""


class Malformed(ValueError):
    """A row that no ledger has."""


def last_line(error: Exception) -> str:
    """Return the last line of a Ray error, which prints the remote traceback before it.

    Of a process that Ray killed for memory it is the line that says so: the last one is advice.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    of_memory = [line for line in lines if "node running low on memory" in line]
    return (of_memory or lines or [repr(error)])[-1]


def notes(error: BaseException) -> list[str]:
    """Return the notes of an error and of those that it was raised from: its own first."""
    found: list[str] = []
    at: BaseException | None = error
    while at is not None:
        found += [note for note in getattr(at, "__notes__", ()) if note not in found]
        at = at.__cause__
    return found


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first leaf of a tree of errors: what a user reads instead of the tree."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
