"""A sandbox for trusted sources: they run in this process, so that tests take milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import sys
from typing import Any

from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.records import Answer, Outcome, TestResult, TestSuite, Verdict


class Interpreted:
    """Programs find their sandbox's hash seed as `SEED`. Some say in a comment how they end."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.judged: list[str] = []
        self.most_at_once = 0
        self._now = 0

    async def judge(self, source: str, tests: TestSuite, *, problem_id: str) -> Verdict:
        del problem_id
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        # an early row takes longer than a late one
        for _ in range(40 if "# slow" in source else 2):
            await asyncio.sleep(0)
        self._now -= 1
        self.judged.append(source)
        if "# fault" in source:
            raise SandboxFault("the engine is away")
        if "# endless" in source:
            results = [TestResult(outcome=Outcome.TIMEOUT, detail="ran for more than 4 s")]
        else:
            results = [self._result(source, tests, i) for i in range(len(tests.inputs))]
        worst = max((r.outcome for r in results), key=lambda o: o.severity)
        detail = next((r.detail for r in results if r.detail), "")
        return Verdict(
            outcome=worst,
            tests=tuple(results),
            structure=None,
            coverage_trusted=False,
            wall_ms=1.0,
            detail=detail,
        )

    def _result(self, source: str, tests: TestSuite, test: int) -> TestResult:
        expected = tests.outputs[test]
        try:
            actual = self._answer(source, tests, copy.deepcopy(tests.inputs[test]))
        except Exception as error:  # noqa: BLE001 - whatever a program raises
            return TestResult(outcome=Outcome.RUNTIME_ERROR, detail=repr(error))
        same = actual == expected if tests.fn_name else actual.split() == expected.split()
        return TestResult(
            outcome=Outcome.PASSED if same else Outcome.WRONG_ANSWER,
            detail="" if same else f"expected {expected!r}, got {actual!r}",
            answer=Answer(actual) if tests.keep_answers else None,
        )

    def _answer(self, source: str, tests: TestSuite, given: Any) -> Any:
        names: dict[str, Any] = {"__name__": "__main__", "SEED": self.seed}
        if tests.fn_name is not None:
            exec(tests.setup_code, names)
            exec(source, names)
            owner = names.get("Solution")
            call = getattr(owner(), tests.fn_name) if owner else names[tests.fn_name]
            return call(*given)
        written, before = io.StringIO(), sys.stdin
        sys.stdin = io.StringIO(given)
        try:
            with contextlib.redirect_stdout(written):
                exec(source, names)
        finally:
            sys.stdin = before
        return written.getvalue()
