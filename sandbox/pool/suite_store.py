"""A problem's tests on their way to executors: large ones are put into Ray's object store once."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import ray
from ray.exceptions import RayError

from stepcoder_dist.errors import SandboxFault, last_line
from stepcoder_dist.records import TestSuite

MOST_SUITES = 128
"""Suites that are held. More problems than that are seldom judged at the same time."""

SMALL_BYTES = 16 * 2**10
"""Pickled. A call with the suite itself costs the driver a third less than one with a reference,
where a put serves the eight programs of a group (docs/performance.md)."""


class SuiteStore:
    """The suites of the problems that were judged last, by problem. Small ones are handed over.

    A suite that is let go of leaves the store when the last program that was sent with it is
    judged: Ray counts the references.
    """

    def __init__(self, most: int = MOST_SUITES, small_bytes: int = SMALL_BYTES) -> None:
        self._most = most
        self._small_bytes = small_bytes
        self._held: OrderedDict[str, tuple[TestSuite, ray.ObjectRef | TestSuite]] = OrderedDict()

    def reference(self, problem_id: str, tests: TestSuite) -> ray.ObjectRef | TestSuite:
        """Return what to call an executor with: the suite, or a reference to it.

        Raises `SandboxFault` where the store cannot take it.

        Another suite of the same problem takes the place of the one that is held.
        """
        held = self._held.get(problem_id)
        if held is None or held[0] is not tests:
            try:
                held = tests, tests if self._is_small(tests) else ray.put(tests)
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

    def _is_small(self, tests: TestSuite) -> bool:
        return len(pickle.dumps(tests)) <= self._small_bytes

    def forget(self, problem_id: str) -> None:
        """Let go of the suite, which is lost: the next program of the problem puts it again."""
        self._held.pop(problem_id, None)

    def clear(self) -> None:
        """Let go of every suite."""
        self._held.clear()
