"""From runs to a verdict: which tests run together, which again, and what each one's end means.

    one child for all tests ── what a test gave there counts (`decisions.py` says when)
                            ├─ what may be due to the tests before it is run again, alone
                            └─ a child that was ended early: the next tests get a new one
    a problem's own checker ── a child after the program's, which judges each answer
    an assert script ── a test of its own after the others; its process gives the verdict
    tests that fail ── use up the program's budget; what is left then is not run
    worst test = the program's outcome

The first test of a child has a fresh process by nature, so its result counts at once. Runs on a
thread: everything here blocks.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from sandbox.answers import checker, comparison
from sandbox.answers.checks import asks_for_large_stacks, own_limits
from sandbox.decisions import Budget, decided_next_to_others
from sandbox.endings import ending, script_outcome
from sandbox.guest import layout, plain_data
from sandbox.guest.layout import Phase
from sandbox.guest.source.statement_lines import physical_lines
from sandbox.guest_link import SPARE_INPUT_BYTES, Runner, RunReport
from sandbox.line_structure import marked_lines, read_likeness, read_structure
from sandbox.orders import order_for, pack_inputs, pack_program, pack_script
from sandbox.wording import printable, short
from stepcoder_dist.errors import ProblemError, SandboxFault
from stepcoder_dist.method.reward import worst
from stepcoder_dist.records import (
    Answer,
    Limits,
    LineStructure,
    Outcome,
    TestResult,
    TestSuite,
    Verdict,
)

TESTS_PER_CHILD = 64
_MOST_LINE_BYTES = 8 * 2**20
_MOST_INPUT_BYTES = SPARE_INPUT_BYTES
"""Of tests that run together: inputs are in the container's memory as long as their child lives."""


def judge(run: Runner, source: str, tests: TestSuite, limits: Limits) -> Verdict:
    """Judge one program. Raises `SandboxFault`, and `ProblemError` for a suite that cannot be."""
    return _Judge(run, source, tests, own_limits(limits, tests), limits).verdict()


class _Judge:
    """The state of one judgement."""

    def __init__(
        self, run: Runner, source: str, tests: TestSuite, limits: Limits, checker_limits: Limits
    ) -> None:
        """Raises `ProblemError` for inputs that cannot be sent."""
        self._run = run
        self._source = source
        self._tests = tests
        self._limits = limits
        self._checker_limits = checker_limits
        self._script = len(tests.inputs)
        """The place of the assert script among the tests, where there is one."""
        self._lines = len(physical_lines(source))
        self._traced = self._lines if limits.coverage else 0
        self._code_lines: frozenset[int] = frozenset()
        self._trusted = limits.coverage
        self._share = False
        self._likeness: tuple[float, float] | None = None
        self._opinions: dict[int, checker.Opinion] = {}
        self._inputs = pack_inputs(tests)
        self._alone: set[int] = set()
        """Tests whose result may be due to the tests before them: they get a child of their own."""
        self._quiet: set[int] = set()
        """Tests whose child was killed for wall time while it waited for a processor."""
        self._budget = Budget(limits)

    def verdict(self) -> Verdict:
        started = time.monotonic()
        structure: LineStructure | None = None
        results: list[TestResult] = []
        complaint = ""
        try:
            report, first = self._first_run()
            structure = self._structure(report)
            self._code_lines = structure.code_lines
            results = self._results(report, first)
        except _DoesNotCompile as error:
            complaint = str(error)
        failed = [(i, r) for i, r in enumerate(results) if r.outcome is not Outcome.PASSED]
        if failed:
            number, result = failed[0]
            complaint = f"test {number + 1}: {result.detail or result.outcome}"
        outcomes = [r.outcome for r in results] or [Outcome.COMPILE_ERROR]
        return Verdict(
            outcome=worst(outcomes),
            tests=tuple(results),
            structure=structure,
            coverage_trusted=self._trusted and structure is not None,
            wall_ms=(time.monotonic() - started) * 1e3,
            detail=printable(complaint),
            likeness=self._likeness,
        )

    # ── runs ─────────────────────────────────────────────────────────────────────────────────

    def _first_run(self) -> tuple[RunReport, list[int]]:
        """Compile, describe and run the first tests, all in one child."""
        first = self._together(list(range(len(self._tests.inputs)))) or [self._script]
        report = self._child(first, describe="fully", share=True)
        if report.structure is None and report.phase is Phase.DESCRIBING:
            # its nesting was too much for the description, not for the compiler
            report = self._child(first, describe="simply", share=True)
        if report.structure is None and report.starved:  # it had no time to compile
            report = self._child(first, describe="fully", share=True, quiet=True)
        return report, first

    def _together(self, tests: list[int]) -> list[int]:
        """As many of these tests as one child can run."""
        most = max(1, min(TESTS_PER_CHILD, _MOST_LINE_BYTES // layout.stride(self._traced)))
        left = _MOST_INPUT_BYTES
        for place, test in enumerate(tests[:most]):
            left -= len(self._inputs[test])
            if left < 0:
                return tests[: max(1, place)]
        return tests[:most]

    def _child(
        self, chosen: list[int], *, describe: str = "", share: bool = False, quiet: bool = False
    ) -> RunReport:
        tests = self._tests
        script = self._script in chosen
        called = tests.entry_point if script else tests.fn_name
        blobs = [
            pack_program(
                self._source,
                tests.setup_code,
                called,
                describe=describe,
                share=share,
                pause_s=self._budget.total_s,
                reference=tests.reference if describe else "",
            )
        ]
        if script:
            blobs.append(pack_script(tests.test_code, tests.setup_code, str(tests.entry_point)))
        else:
            blobs += [self._inputs[i] for i in chosen]
        order = order_for(
            self._limits,
            blobs,
            lines=self._traced,
            large_stacks=asks_for_large_stacks(self._source),
            script=script,
        )
        report = self._run(order, blobs, quiet=quiet)
        never = report.structure is None and report.phase is Phase.STARTING
        if never and (quiet or not report.starved):  # a busy machine's fault is tried in quiet
            raise SandboxFault(f"a child never started (exit status {report.status})")
        return report

    def _structure(self, report: RunReport) -> LineStructure:
        """Read what the child sealed. Raises `_DoesNotCompile`."""
        if report.structure is None:
            if report.phase is Phase.COMPILING:
                why = "time" if report.killed else "memory or nesting"
                raise _DoesNotCompile(f"the compiler gave up for {why}")
            self._trusted = False
            return LineStructure(
                code_lines=frozenset(), follows=((),) * self._lines, comment_lines=frozenset()
            )
        description = json.loads(report.structure)
        if "error" in description:
            raise _DoesNotCompile(str(description["error"]))
        if "setup_error" in description:
            raise ProblemError(f"its setup_code does not compile: {description['setup_error']}")
        self._trusted = self._trusted and bool(description.get("trusted")) and not report.meddled
        self._share = not description.get("alone", True)
        self._likeness = read_likeness(description)
        return read_structure(description, self._lines)

    # ── results ──────────────────────────────────────────────────────────────────────────────

    def _results(self, report: RunReport, first: list[int]) -> list[TestResult]:
        results: dict[int, TestResult] = {}
        self._take(results, report, first)
        while left := [i for i in range(len(self._tests)) if i not in results]:
            if self._budget.spent:
                results |= dict.fromkeys(left, self._budget.not_run)
                break
            chosen, quiet = self._next(left)
            report = self._child(chosen, share=len(chosen) > 1, quiet=quiet)
            self._take(results, report, chosen, quiet=quiet)
        return [results[i] for i in range(len(self._tests))]

    def _next(self, left: list[int]) -> tuple[list[int], bool]:
        """Return the tests of the next child, and whether it needs quiet."""
        for some in (self._quiet, self._alone):
            if waiting := [i for i in left if i in some]:
                return waiting[:1], some is self._quiet
        inputs = [i for i in left if i != self._script]
        if inputs and self._share:
            return self._together(inputs), False
        return left[:1], False

    def _take(
        self,
        results: dict[int, TestResult],
        report: RunReport,
        chosen: list[int],
        *,
        quiet: bool = False,
    ) -> None:
        """Keep what is decided."""
        self._trusted = self._trusted and not report.meddled
        if not self._share and len(chosen) > 1:
            # it was to run its first test only; in the name of others it had their time as well
            if report.records[1].begun or report.last_timed > 0:
                self._alone.update(chosen)
                return
            chosen = chosen[:1]
        self._ask_checker(report, chosen)
        for place, test in enumerate(chosen):
            if place and not report.records[place].begun:
                break
            result = self._result(report, place, test)
            timed_out = result.outcome is Outcome.TIMEOUT
            if timed_out and report.starved and not quiet and not self._budget.timed_out:
                # a busy machine may have made it; one that is decided settles the verdict
                self._quiet.add(test)
            elif place == 0 or decided_next_to_others(report, place, result, self._limits):
                results[test] = result
                self._budget.take(result)
            else:
                self._alone.add(test)

    def _result(self, report: RunReport, place: int, test: int) -> TestResult:
        called = self._tests.fn_name is not None or test == self._script
        ended = ending(report, place, self._limits, called=called)
        outcome, detail = ended.outcome, ended.detail
        kept: Answer | None = None
        if outcome is None:
            answer = report.answers[place] or b""
            if test == self._script:
                outcome, detail = script_outcome(answer)
            else:
                outcome, detail = self._compared(answer, test)
                kept = self._kept(answer)
        stride = layout.stride(self._traced)
        lines = report.lines[place * stride : (place + 1) * stride].tobytes()
        record = report.records[place]
        return TestResult(
            outcome=outcome,
            executed_lines=self._code_lines.intersection(marked_lines(lines)),
            cpu_ms=(record.cpu_ns if record.done else report.cpu_ns) / 1e6,
            detail="" if outcome is Outcome.PASSED else printable(detail),
            answer=kept,
        )

    def _kept(self, answer: bytes) -> Answer | None:
        """An answer for a reader that asked for it; an object that is no plain data is none."""
        called = self._tests.fn_name is not None
        if self._tests.keep_answers and not (called and plain_data.OPAQUE in answer):
            with contextlib.suppress(plain_data.Unreadable, plain_data.TooLarge):
                return Answer(self._shown(answer))
        return None

    def _ask_checker(self, report: RunReport, chosen: list[int]) -> None:
        """Have the answers of a run checked, where the problem brings its own checker."""
        if not self._tests.checker:
            return
        cases = []
        for place, test in enumerate(chosen):
            called = self._tests.fn_name is not None
            if test == self._script or (place and not report.records[place].begun):
                break
            if ending(report, place, self._limits, called=called).outcome is None:
                with contextlib.suppress(plain_data.Unreadable, plain_data.TooLarge):
                    actual = self._shown(report.answers[place] or b"")
                    given = self._tests.inputs[test], self._tests.outputs[test]
                    cases.append(checker.Case(test, *given, actual))
        self._opinions = checker.opinions(
            self._run, self._tests.checker, cases, self._checker_limits
        )

    def _shown(self, answer: bytes) -> Any:
        """Return an answer as a checker or a reader sees it. Raises `Unreadable` and `TooLarge`."""
        if self._tests.fn_name is None:
            return answer.decode("utf-8", "replace")
        return plain_data.decode(answer)

    def _compared(self, answer: bytes, test: int) -> tuple[Outcome, str]:
        expected, how = self._tests.outputs[test], self._tests.comparison
        try:
            shown = self._shown(answer)
        except (plain_data.Unreadable, plain_data.TooLarge):
            return Outcome.RUNTIME_ERROR, "the return value cannot be read"
        why = ""
        if self._tests.checker:
            opinion = self._opinions[test]
            right, why = opinion.right, opinion.why
        elif self._tests.fn_name is None:
            right = comparison.equal_output(expected, answer, how)
        else:
            right = comparison.equal_value(expected, shown, how, strict=self._tests.strict_types)
        if right:
            return Outcome.PASSED, ""
        return Outcome.WRONG_ANSWER, why or f"expected {short(expected)}, got {short(shown)}"


class _DoesNotCompile(Exception):
    """Ends a judgement early; its text says why."""
