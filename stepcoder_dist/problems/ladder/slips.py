"""Off-by-one slips: programs of the ladder in which a comparison includes its own bound.

    if n>7:    ->    if n>=7:

They represent what demonstrations get wrong. The tests of every problem distinguish a slip from the
right program, wherever some input does.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from itertools import count

from stepcoder_dist.problems.ladder.language import Condition, If, Repeat, Step, Task, While


def careless(task: Task, rng: random.Random, share: float) -> Task:
    """Return the task in which each comparison slips with probability `share`."""
    return _rewrite(task, lambda condition: _slip(condition) if rng.random() < share else condition)


def single_slips(task: Task) -> Iterator[Task]:
    """Yield every program that differs from the task by one slipped comparison."""
    conditions: list[Condition] = []

    def note(condition: Condition) -> Condition:
        conditions.append(condition)
        return condition

    _rewrite(task, note)
    for place, condition in enumerate(conditions):
        if _slip(condition) != condition:
            yield _slip_at(task, place)


def _slip_at(task: Task, place: int) -> Task:
    number = count()
    return _rewrite(task, lambda c: _slip(c) if next(number) == place else c)


def _slip(condition: Condition) -> Condition:
    bounded = condition.test in ("above", "below")
    return dataclasses.replace(condition, inclusive=True) if bounded else condition


def _rewrite(task: Task, change: Callable[[Condition], Condition]) -> Task:
    return dataclasses.replace(task, steps=tuple(_step(step, change) for step in task.steps))


def _step(step: Step, change: Callable[[Condition], Condition]) -> Step:
    match step:
        case If(condition, body, otherwise):
            return If(change(condition), _step(body, change), otherwise)
        case While(condition, body):
            return While(change(condition), body)
        case Repeat(times, body):
            return Repeat(times, _step(body, change))
        case _:
            return step
