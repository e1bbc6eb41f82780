"""The language of the ladder: steps on one number, as English, as Python, and as functions.

    read n . if n is even add 3 . while n is above 20 subtract 7 . print n

    n=int(input())
    if n%2==0:
        n+=3
    while n>20:
        n-=7
    print(n)

There are no blanks around operators. The tokenizer has a token for `==` and for a digit, but would
need one more for each blank before a digit.

Every step is one conditional statement, or one around another. `run` is the meaning of a step; a
test compares the written Python with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

INDENT = "    "
RUNAWAY = 1000
"""Most iterations of a `while` step."""


class Step(Protocol):
    """The interface of an action and of the three kinds of conditional statement."""

    @property
    def conditionals(self) -> int:
        """The number of conditional statements in the step's code."""
        ...

    @property
    def english(self) -> str: ...

    def python(self, indent: str) -> list[str]:
        """Return the lines of the step's code."""
        ...

    def run(self, n: int) -> int:
        """Apply the step to n. Raises `OverflowError` for a `while` with too many iterations."""
        ...

    def branches(self, n: int) -> Iterator[tuple[int, bool]]:
        """Return the way of each `if` and `while` from n: its depth, and whether it is entered."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """`test` is one of even, odd, above, below, divisible; the first two take no number.

    A divisor is at least 3, since `even` means 2: a program has exactly one statement.
    """

    test: str
    number: int = 0
    inclusive: bool = False
    """Above and below include the number itself, which no statement asks for (`slips.py`)."""

    def holds(self, n: int) -> bool:
        match self.test:
            case "even":
                return n % 2 == 0
            case "odd":
                return n % 2 == 1
            case "above":
                return n >= self.number if self.inclusive else n > self.number
            case "below":
                return n <= self.number if self.inclusive else n < self.number
            case _:
                return n % self.number == 0

    @property
    def english(self) -> str:
        words = {
            "above": f" above {self.number}",
            "below": f" below {self.number}",
            "divisible": f" divisible by {self.number}",
        }
        return "n is" + words.get(self.test, f" {self.test}")

    @property
    def python(self) -> str:
        equal = "=" if self.inclusive else ""
        return {
            "even": "n%2==0",
            "odd": "n%2==1",
            "above": f"n>{equal}{self.number}",
            "below": f"n<{equal}{self.number}",
        }.get(self.test, f"n%{self.number}==0")


@dataclass(frozen=True, slots=True)
class Action:
    """`verb` is one of add, subtract, multiply by. An action is the body of a conditional."""

    verb: str
    number: int
    conditionals = 0

    def run(self, n: int) -> int:
        match self.verb:
            case "add":
                return n + self.number
            case "subtract":
                return n - self.number
            case _:
                return n * self.number

    def branches(self, _n: int) -> Iterator[tuple[int, bool]]:
        return iter(())

    @property
    def english(self) -> str:
        return f"{self.verb} {self.number}"

    def python(self, indent: str) -> list[str]:
        sign = {"add": "+", "subtract": "-"}.get(self.verb, "*")
        return [f"{indent}n{sign}={self.number}"]


@dataclass(frozen=True, slots=True)
class If:
    """With an `otherwise`, the body is an action: an `else` always belongs to the `if` before."""

    condition: Condition
    body: Step
    otherwise: Action | None = None

    @property
    def conditionals(self) -> int:
        return 1 + self.body.conditionals

    def run(self, n: int) -> int:
        if self.condition.holds(n):
            return self.body.run(n)
        return self.otherwise.run(n) if self.otherwise else n

    def branches(self, n: int) -> Iterator[tuple[int, bool]]:
        entered = self.condition.holds(n)
        yield 0, entered
        if entered:
            yield from _deeper(self.body.branches(n))

    @property
    def english(self) -> str:
        joint = " then" if self.body.conditionals else ""
        tail = f" else {self.otherwise.english}" if self.otherwise else ""
        return f"if {self.condition.english}{joint} {self.body.english}{tail}"

    def python(self, indent: str) -> list[str]:
        lines = [f"{indent}if {self.condition.python}:", *self.body.python(indent + INDENT)]
        if self.otherwise:
            lines += [f"{indent}else:", *self.otherwise.python(indent + INDENT)]
        return lines


@dataclass(frozen=True, slots=True)
class Repeat:
    """A `for` loop, whose body always runs, so that it has no branch of its own."""

    times: int
    body: Step

    @property
    def conditionals(self) -> int:
        return 1 + self.body.conditionals

    def run(self, n: int) -> int:
        for _ in range(self.times):
            n = self.body.run(n)
        return n

    def branches(self, n: int) -> Iterator[tuple[int, bool]]:
        for _ in range(self.times):
            yield from _deeper(self.body.branches(n))
            n = self.body.run(n)

    @property
    def english(self) -> str:
        return f"repeat {self.times} times {self.body.english}"

    def python(self, indent: str) -> list[str]:
        return [f"{indent}for i in range({self.times}):", *self.body.python(indent + INDENT)]


@dataclass(frozen=True, slots=True)
class While:
    """A loop that its own action ends."""

    condition: Condition
    body: Action
    conditionals = 1

    def run(self, n: int) -> int:
        rounds = 0
        while self.condition.holds(n):
            n = self.body.run(n)
            rounds += 1
            if rounds > RUNAWAY:
                raise OverflowError(self.english)
        return n

    def branches(self, n: int) -> Iterator[tuple[int, bool]]:
        yield 0, self.condition.holds(n)

    @property
    def english(self) -> str:
        return f"while {self.condition.english} {self.body.english}"

    def python(self, indent: str) -> list[str]:
        return [f"{indent}while {self.condition.python}:", *self.body.python(indent + INDENT)]


def _deeper(branches: Iterator[tuple[int, bool]]) -> Iterator[tuple[int, bool]]:
    return ((depth + 1, entered) for depth, entered in branches)


@dataclass(frozen=True, slots=True)
class Task:
    """One problem's program: steps on n, read and printed, or taken and returned by `f`."""

    steps: tuple[Step, ...]
    by_call: bool = False

    @property
    def conditionals(self) -> int:
        return sum(step.conditionals for step in self.steps)

    def run(self, n: int) -> int:
        for step in self.steps:
            n = step.run(n)
        return n

    def branches(self, n: int) -> set[tuple[int, int, bool]]:
        """Return every (step, depth, way) that a run from n takes."""
        taken: set[tuple[int, int, bool]] = set()
        for number, step in enumerate(self.steps):
            taken.update((number, depth, way) for depth, way in step.branches(n))
            n = step.run(n)
        return taken

    @property
    def english(self) -> str:
        first, last = ("define f of n", "return n") if self.by_call else ("read n", "print n")
        return " . ".join([first, *(step.english for step in self.steps), last])

    @property
    def python(self) -> str:
        indent = INDENT if self.by_call else ""
        first, last = ("def f(n):", "return n") if self.by_call else ("n=int(input())", "print(n)")
        body = [line for step in self.steps for line in step.python(indent)]
        return "\n".join([first, *body, indent + last]) + "\n"
