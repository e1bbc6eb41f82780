"""Random programs of the ladder in which every conditional statement matters.

A program is drawn step by step along the values that reach each step, so that nothing has to be
thrown away at the end. Some inputs take each way of every conditional, numbers stay small, and
different inputs keep different outputs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from stepcoder_dist.problems.ladder.language import Action, Condition, If, Repeat, Step, Task, While
from stepcoder_dist.records import LEVELS

CONDITIONALS = range(1, 6)
"""The numbers of conditional statements that a program can have."""
LEVEL_OF = dict(
    zip(CONDITIONALS, (LEVELS[0], LEVELS[0], LEVELS[1], LEVELS[2], LEVELS[2]), strict=True)
)

KINDS = ("if", "if-else", "repeat", "while", "nested")
"""`nested`, an `if` or a `repeat` around an `if`, is two conditionals: competition level only."""

INPUTS = range(40)
"""The values of n that tests are drawn from."""
LARGEST_VALUE = 999
"""The largest absolute value of a run, so that outputs stay short."""
_SMALLEST_BRANCH = 0.1
"""Least share of the inputs that takes each way of every conditional."""
_DIFFERENT = 0.25
"""Least share of different values after every step, of the number of inputs."""
_WEIGHTS = {"if": 3, "if-else": 4, "repeat": 1, "while": 1, "nested": 2}
_LAST_STEPS = 6
_TRIES = 200
_DEAD_ENDS = 20
"""Programs in a row that cannot be completed before drawing ends."""


def programs(
    rng: random.Random, conditionals: int, kinds: tuple[str, ...], *, by_call: bool
) -> Iterator[Task]:
    """Draw programs, each with that many conditional statements, until none can be drawn.

    At least a tenth of the inputs takes each way of every conditional. Some programs in a row
    differ in their last step only, so skipping one costs one step, not a program.
    """
    dead_ends = 0
    while dead_ends < _DEAD_ENDS:
        steps: list[Step] = []
        values = list(INPUTS)
        left = conditionals
        while left:
            found = _step(rng, values, left, conditionals, kinds)
            if found is None:
                dead_ends += 1
                break
            step, after = found
            left -= step.conditionals
            if not left:
                dead_ends = 0
                yield Task((*steps, step), by_call)
                for _ in range(_LAST_STEPS):
                    again = _step(rng, values, step.conditionals, conditionals, kinds)
                    if again is not None and again[0].conditionals == step.conditionals:
                        yield Task((*steps, again[0]), by_call)
            steps.append(step)
            values = after


def _step(
    rng: random.Random, values: list[int], left: int, conditionals: int, kinds: tuple[str, ...]
) -> tuple[Step, list[int]] | None:
    """Draw a step that suits the values which reach it; return it with its results, or None."""
    nests = left > 1 and LEVEL_OF[conditionals] == LEVELS[2]
    usable = [kind for kind in kinds if kind != "nested" or nests]
    weights = [_WEIGHTS[kind] for kind in usable]
    for kind in rng.choices(usable, weights, k=_TRIES):
        step = _draw(rng, kind, values)
        after = _through(step, values) if step is not None else None
        if step is not None and after is not None:
            return step, after
    return None


def _draw(rng: random.Random, kind: str, values: list[int]) -> Step | None:
    match kind:
        case "if":
            return If(_condition(rng, values), _action(rng))
        case "if-else":
            one, other = _action(rng), _action(rng)
            return If(_condition(rng, values), one, other) if one != other else None
        case "repeat":
            return Repeat(rng.randint(2, 5), _action(rng))
        case "while":
            above = rng.random() < 1 / 2
            condition = Condition("above" if above else "below", _threshold(rng, values))
            return While(condition, Action("subtract" if above else "add", rng.randint(2, 9)))
        case _:
            inner = _draw(rng, rng.choice(("if", "if-else")), values)
            if inner is None:
                return None
            around = rng.random() < 1 / 2
            return (
                If(_condition(rng, values), inner) if around else Repeat(rng.randint(2, 3), inner)
            )


def _condition(rng: random.Random, values: list[int]) -> Condition:
    test = rng.choice(("even", "odd", "above", "below", "above", "below", "divisible"))
    if test == "divisible":
        return Condition(test, rng.randint(3, 9))
    return Condition(test, _threshold(rng, values) if test in ("above", "below") else 0)


def _threshold(rng: random.Random, values: list[int]) -> int:
    """Return a number of one or two digits, near a value that reaches the step."""
    return min(max(rng.choice(values) + rng.randint(-2, 2), 0), 99)


def _action(rng: random.Random) -> Action:
    verb = rng.choice(("add", "subtract", "add", "subtract", "multiply by"))
    return Action(verb, rng.randint(2, 9 if verb != "multiply by" else 5))


def _through(step: Step, values: list[int]) -> list[int] | None:
    """Return the results of the step for the values that reach it.

    None where it does not suit them.

    Both ways of every conditional are taken often enough, no value grows too large, and the
    values stay different enough for tests to distinguish programs.
    """
    after = [step.run(n) for n in values]
    if max(after) > LARGEST_VALUE or min(after) < -LARGEST_VALUE:
        return None
    if len(set(after)) < len(values) * _DIFFERENT:
        return None
    ways: dict[tuple[int, bool], int] = {}
    for n in values:
        for way in set(step.branches(n)):
            ways[way] = ways.get(way, 0) + 1
    least = _SMALLEST_BRANCH * len(values)
    both = all(ways.get((depth, way), 0) >= least for depth, _ in ways for way in (True, False))
    return after if both else None
