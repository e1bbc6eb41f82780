"""A problem's tests in Ray's object store: put there once, not sent with every program."""

from __future__ import annotations

from collections import OrderedDict

import ray
from ray.exceptions import RayError

from stepcoder_dist.errors import SandboxFault, last_line
from stepcoder_dist.records import TestSuite

MOST_SUITES = 128
"""Suites that are held. More problems than that are seldom judged at the same time."""


class SuiteStore:
    """The suites of the problems that were judged last, by problem.

    A suite that is let go of leaves the store when the last program that was sent with it is
    judged: Ray counts the references.
    """

    def __init__(self, most: int = MOST_SUITES) -> None:
        self._most = most
        self._held: OrderedDict[str, tuple[TestSuite, ray.ObjectRef]] = OrderedDict()

    def reference(self, problem_id: str, tests: TestSuite) -> ray.ObjectRef:
        """Return a reference to the suite. Raises `SandboxFault` where the store cannot take it.

        Another suite of the same problem takes the place of the one that is held.
        """
        held = self._held.get(problem_id)
        if held is None or held[0] is not tests:
            try:
                held = tests, ray.put(tests)
            except RayError as error:
                raise SandboxFault(
                    f"the tests of {problem_id} cannot be put into Ray's object store: "
                    f"{last_line(error)}; `ray memory` shows what fills it"
                ) from error
            self._held[problem_id] = held
        self._held.move_to_end(problem_id)
        while len(self._held) > self._most:
            self._held.popitem(last=False)
        return held[1]

    def forget(self, problem_id: str) -> None:
        """Let go of the suite, which is lost: the next program of the problem puts it again."""
        self._held.pop(problem_id, None)

    def clear(self) -> None:
        """Let go of every suite."""
        self._held.clear()
