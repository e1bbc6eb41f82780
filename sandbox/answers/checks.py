"""What can be judged, and under which limits: settled before anything runs."""

from __future__ import annotations

import dataclasses
import math

from sandbox.answers import comparison
from stepcoder_dist.errors import ProblemError
from stepcoder_dist.records import Limits, TestSuite

MOST_SOURCE_CHARS = 4 * 2**20
MOST_CPU_S = 3600.0
MOST_MEMORY_BYTES = 2**40


def check_suite(tests: TestSuite) -> None:
    """Refuse what cannot be judged, before anything runs. Raises `ProblemError`."""
    if tests.test_code and not tests.entry_point:
        raise ProblemError(
            "its test_code does not say which function it tests; name it as entry_point"
        )
    if not len(tests):
        raise ProblemError("it has no tests, and no tests is never a pass; add at least one")
    if len(tests.inputs) != len(tests.outputs):
        raise ProblemError(f"{len(tests.inputs)} inputs but {len(tests.outputs)} outputs")
    if tests.comparison not in comparison.COMPARISONS:
        known = ", ".join(sorted(comparison.COMPARISONS))
        raise ProblemError(f"unknown comparison {tests.comparison!r}; use one of {known}")
    _check_limits(tests)
    kind = str if tests.fn_name is None else list | tuple
    if not all(isinstance(i, kind) for i in tests.inputs):
        raise ProblemError(
            "without fn_name every input is text, with it a list of arguments; fix the row"
        )
    if tests.fn_name is None and not all(isinstance(o, str) for o in tests.outputs):
        raise ProblemError("without fn_name every output is text; fix the row")


def _check_limits(tests: TestSuite) -> None:
    for limit in (tests.cpu_limit_s, tests.memory_limit_bytes):
        if limit is not None and not (math.isfinite(limit) and limit > 0):
            raise ProblemError(f"a limit is {limit}; give a positive number or leave it out")
    if tests.cpu_limit_s is not None and tests.cpu_limit_s > MOST_CPU_S:
        raise ProblemError(
            f"its time limit is {tests.cpu_limit_s:g} s for a test; {MOST_CPU_S:g} at most"
        )
    memory = tests.memory_limit_bytes
    if memory is not None and memory > MOST_MEMORY_BYTES:
        raise ProblemError(
            f"its memory limit is {memory / 2**20:g} MiB; {MOST_MEMORY_BYTES >> 20} at most"
        )


def check_source(source: str) -> None:
    """Raise `ProblemError` for a source that is no text or too large to be a program."""
    if not isinstance(source, str):
        raise ProblemError(f"the source is a {type(source).__name__}, not text")
    if len(source) > MOST_SOURCE_CHARS:
        raise ProblemError(f"the source has {len(source)} characters; {MOST_SOURCE_CHARS} at most")


def asks_for_large_stacks(source: str) -> bool:
    """Return whether a source names what gives a thread, or the program itself, a large stack."""
    return "stack_size" in source or "RLIMIT_STACK" in source


def own_limits(limits: Limits, tests: TestSuite) -> Limits:
    """Return a problem's limits, the run's where it has none.

    Those of wall time and of the program grow with the CPU's.
    """
    cpu_s = tests.cpu_limit_s or limits.cpu_s
    growth = max(1.0, cpu_s / limits.cpu_s)
    return dataclasses.replace(
        limits,
        cpu_s=cpu_s,
        wall_s=limits.wall_s * growth,
        program_s=2 * cpu_s if limits.program_s is None else limits.program_s * growth,
        memory_bytes=tests.memory_limit_bytes or limits.memory_bytes,
    )
