"""Choosing the inputs that test a program of the ladder: how much of it they see.

    thorough        every way of every conditional
    else            some of them, as unit tests do
    unreached = 1   all tests together leave a branch of the program unexecuted

    slips = 0.5     half of the program's off-by-one slips are noticed by chance only

All tests together notice every other slip, wherever an allowed input does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from stepcoder_dist.problems.ladder.language import If, Task
from stepcoder_dist.problems.ladder.programs import INPUTS
from stepcoder_dist.problems.ladder.slips import single_slips

Branch = tuple[int, int, bool]
"""A branch as (step, depth, way), as in `Task.branches`."""


def draw_inputs(
    task: Task,
    rng: random.Random,
    tests: int,
    *,
    thorough: bool,
    unreached: int = 0,
    slips: float = 1.0,
) -> list[int]:
    """Draw the inputs of the tests, ascending.

    Inputs that are not thorough enter at least one conditional where there is one to enter.
    """
    order = rng.sample(INPUTS, len(INPUTS))
    if unreached:
        order = _leaving_out(task, order, rng, tests, unreached)
    outputs = {n: task.run(n) for n in order}
    noticed = [slip for slip in single_slips(task) if slips == 1 or rng.random() < slips]
    seen: dict[int, set[object]] = {
        n: {number for number, slip in enumerate(noticed) if slip.run(n) != outputs[n]}
        for n in order
    }
    for n in order:
        branches = task.branches(n)
        if thorough:
            seen[n] |= branches
        elif any(way for _, _, way in branches):
            seen[n].add("entered")
    chosen = _cover(order, seen)
    left = [n for n in order if n not in chosen]
    return sorted([*chosen, *left][: max(tests, len(chosen))])


def _leaving_out(
    task: Task, order: Sequence[int], rng: random.Random, tests: int, count: int
) -> list[int]:
    """Return the inputs that take none of `count` branches, chosen so that enough inputs stay.

    A branch counts where code of its own stays unexecuted. Where no branch leaves enough inputs for
    the tests, the one that leaves most is left out.
    """
    taken = {n: {b for b in task.branches(n) if _has_code(task, b)} for n in order}
    candidates = sorted(set().union(*taken.values()))
    rng.shuffle(candidates)
    inputs = list(order)
    for number in range(count):
        rest = {b: [n for n in inputs if b not in taken[n]] for b in candidates}
        rest = {b: left for b, left in rest.items() if 0 < len(left) < len(inputs)}
        enough = [b for b, left in rest.items() if len(left) >= tests]
        if not rest or (number and not enough):
            break
        inputs = rest[enough[0] if enough else max(rest, key=lambda b: len(rest[b]))]
    return inputs


def _has_code(task: Task, branch: Branch) -> bool:
    """Return whether a branch has code; skipping a loop or an `if` without `else` has none."""
    number, depth, way = branch
    step = task.steps[number]
    for _ in range(depth):
        step = step.body  # type: ignore[attr-defined]  # only steps with a body have a depth
    return way or (isinstance(step, If) and step.otherwise is not None)


def _cover(order: Sequence[int], seen: Mapping[int, set[object]]) -> list[int]:
    """Return a few inputs that together see all that can be seen.

    The one that adds most comes first.
    """
    chosen: list[int] = []
    wanted = set().union(*seen.values())
    while wanted:
        best = max(order, key=lambda n: len(wanted & seen[n]))
        chosen.append(best)
        wanted -= seen[best]
    return chosen
