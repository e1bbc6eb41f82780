"""What test functions use of pytest, for an assert script in the sandbox, where there is no pytest.

Scripts get the text of this file in front (`problems/formats/kodcode.py`). So it needs the standard
library only. What it has not is an `ImportError`: the row cannot be judged, whatever the program.
"""

import inspect
import itertools
import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, Self


class _Raises:
    def __init__(self, kinds: Any, match: str | None = None) -> None:
        self.kinds, self.match = kinds, match
        self.value: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        assert kind is not None, f"did not raise {self.kinds}"  # noqa: S101 - as in pytest
        self.value = error
        matches = self.match is None or re.search(self.match, str(error))
        return isinstance(error, self.kinds) and bool(matches)


class _Approx:
    def __init__(
        self,
        expected: Any,
        rel: float | None = None,
        abs: float | None = None,  # noqa: A002 - pytest's name
        nan_ok: bool = False,
    ) -> None:
        self.expected: Any = expected
        self.terms: dict[str, Any] = {"rel": rel, "abs": abs, "nan_ok": nan_ok}

    def __eq__(self, other: object) -> bool:
        return bool(self._near(other))

    def __hash__(self) -> int:
        raise TypeError("unhashable")

    def _near(self, actual: Any) -> Any:
        expected = self.expected
        if isinstance(expected, dict):
            return actual.keys() == expected.keys() and all(
                _Approx(value, **self.terms) == actual[key] for key, value in expected.items()
            )
        if isinstance(expected, list | tuple):
            return len(actual) == len(expected) and all(
                _Approx(value, **self.terms) == item
                for value, item in zip(expected, actual, strict=True)
            )
        if isinstance(expected, bool) or not isinstance(expected, int | float):
            return expected == actual
        if math.isnan(expected):
            return self.terms["nan_ok"] and math.isnan(actual)
        least = self.terms["abs"] if self.terms["abs"] is not None else 1e-12
        if self.terms["rel"] is not None or self.terms["abs"] is None:
            least = max(least, (self.terms["rel"] or 1e-6) * abs(expected))
        return actual == expected or abs(actual - expected) <= least < math.inf


class _Mark:
    def parametrize(self, names: Any, values: Any, **_: Any) -> Callable[[Any], Any]:
        """Note the cases on the function; several decorators are multiplied."""
        split = names.replace(",", " ").split() if isinstance(names, str) else list(names)
        cases = [dict(zip(split, v if len(split) > 1 else [v], strict=True)) for v in values]

        def noted(function: Any) -> Any:
            function.stepcoder_cases = [cases, *getattr(function, "stepcoder_cases", [])]
            return function

        return noted

    def __getattr__(self, name: str) -> Any:
        """Any other mark changes nothing here: `mark.slow`, `mark.timeout(5)`."""

        def mark(*arguments: Any, **_: Any) -> Any:
            bare = len(arguments) == 1 and inspect.isfunction(arguments[0])
            return arguments[0] if bare else lambda function: function

        return mark


class pytest:  # noqa: N801 - the module's name
    """Stands in for the module."""

    approx, mark = _Approx, _Mark()
    fixtures: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def raises(kinds: Any, *call: Any, match: str | None = None, **named: Any) -> Any:
        if not call:
            return _Raises(kinds, match)
        with _Raises(kinds) as found:
            call[0](*call[1:], **named)
        return found

    @staticmethod
    def param(*values: Any, **_: Any) -> Any:
        return values if len(values) > 1 else values[0]

    @staticmethod
    def fail(reason: str = "") -> None:
        raise AssertionError(reason)

    @staticmethod
    def fixture(function: Any = None, **_: Any) -> Any:
        if function is None:
            return pytest.fixture
        pytest.fixtures[function.__name__] = function
        return function


def stepcoder_run(function: Any) -> None:
    """Run a test function for each of its cases, with its fixtures."""
    for chosen in itertools.product(*getattr(function, "stepcoder_cases", [])):
        given = {name: value for case in chosen for name, value in case.items()}
        _call(function, given)


def _call(function: Any, given: dict[str, Any]) -> Any:
    needed = [name for name in inspect.signature(function).parameters if name != "self"]
    arguments = {name: given[name] if name in given else _fixture(name) for name in needed}
    return function(**arguments)


def _fixture(name: str) -> Any:
    if name not in pytest.fixtures:
        raise ImportError(f"the tests use pytest's fixture {name}")
    value = _call(pytest.fixtures[name], {})
    return next(value) if inspect.isgenerator(value) else value
