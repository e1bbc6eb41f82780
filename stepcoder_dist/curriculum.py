"""CCCS: a curriculum of code-completion subtasks (StepCoder §3, arXiv 2402.01391, Algorithm 1).

The policy is given the head of a reference solution and writes the rest. With E conditional
statements a problem has ⌈√E⌉ stages; at stage c > 0 it starts at the line of conditional number
⌈E/⌈√E⌉⌉·c (0-based), at stage 0 from nothing. A problem begins at its last stage and moves to
the one before when a moving average of full passes exceeds a threshold.

Pure data: nothing here runs the reference, and all state goes through `state_dict`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.program import line_starts
from stepcoder_dist.records import Problem, StartPoint

_CONDITIONALS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match)
_ELIF = re.compile(r"[ \t\f]*elif\b")


def conditional_lines(source: str) -> tuple[int, ...]:
    """First lines (1-based, ascending) of the `if`, `for`, `while` and `match` statements.

    Nested ones count; an `elif` belongs to its `if`; several on one line count once. Raises
    `SyntaxError` or `ValueError` when the source does not parse.
    """
    lines: set[int] = set()
    elifs: set[ast.AST] = set()
    starts = line_starts(source)
    # breadth first: an `if` is seen before the `elif` in its `orelse`
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _CONDITIONALS) or node in elifs:
            continue
        lines.add(node.lineno)
        branch = _elif_of(node, source, starts)
        while branch is not None:
            elifs.add(branch)
            branch = _elif_of(branch, source, starts)
    return tuple(sorted(lines))


def _elif_of(node: ast.stmt, source: str, starts: tuple[int, ...]) -> ast.If | None:
    """The `if` node that is this one's `elif`. The tree does not tell it from `else:` + `if`."""
    if isinstance(node, ast.If) and len(node.orelse) == 1:
        branch = node.orelse[0]
        if isinstance(branch, ast.If) and _ELIF.match(source, starts[branch.lineno - 1]):
            return branch
    return None


@dataclass(frozen=True, slots=True)
class Stages:
    """The start points of one problem, by stage."""

    conditional_lines: tuple[int, ...]

    @property
    def stages(self) -> int:
        """⌈√E⌉, exact for any E."""
        count = len(self.conditional_lines)
        root = math.isqrt(count)
        return root + (root * root < count)

    @property
    def stride(self) -> int:
        """⌈E/⌈√E⌉⌉ conditional statements from one stage to the next; 0 where E = 0."""
        return -(-len(self.conditional_lines) // self.stages) if self.stages else 0

    @property
    def first(self) -> int:
        """The stage at which a problem begins: its easiest."""
        return max(self.stages - 1, 0)

    def start_line(self, stage: int) -> int:
        """The 1-based line at which the policy starts; 0: nothing is given.

        Raises `ValueError` for a stage that the problem does not have.
        """
        if not 0 <= stage <= self.first:
            raise ValueError(f"stage {stage} of a problem with stages 0…{self.first}")
        return self.conditional_lines[self.stride * stage] if stage else 0


@dataclass(slots=True)
class Progress:
    """Where one problem stands."""

    stage: int
    average: float = 0.0
    """ρ: moving average of full passes at this stage."""


class Curriculum:
    """Chooses start points and moves them back as outcomes are recorded."""

    def __init__(self, config: CurriculumConfig, problems: Iterable[Problem]) -> None:
        self._config = config
        self._references = {p.problem_id: p.reference for p in problems}
        self._stages = {
            problem_id: Stages(conditional_lines(source) if config.kind == "cccs" else ())
            for problem_id, source in self._references.items()
        }
        self._progress = {key: Progress(stages.first) for key, stages in self._stages.items()}

    def start_point(self, problem_id: str, stage: int | None = None) -> StartPoint:
        """Where the policy starts on this problem, at its present stage or at a given one."""
        if stage is None:
            stage = self._progress[problem_id].stage
        line = self._stages[problem_id].start_line(stage)
        cut = line_starts(self._references[problem_id])[line - 1] if line else 0
        return StartPoint(problem_id=problem_id, stage=stage, line=line, cut=cut)

    def record(self, problem_id: str, stage: int, passed: Sequence[bool]) -> bool:
        """Count a group's outcomes, sampled at `stage`; True when they moved the problem on.

        ρ ← (1−α)ρ + α·[passed]; above the threshold ρ ← 0 and the stage goes down by one, never
        below 0 (Algorithm 1 prints `min(c−1, 0)`, which can only be meant as `max`). Outcomes of
        another stage than the current one say nothing about it and are ignored.
        """
        if self._config.group_update == "mean":
            updates = [sum(passed) / len(passed)] if passed else []
        else:
            updates = [float(p) for p in passed]
        progress = self._progress[problem_id]
        if progress.stage != stage:
            return False
        alpha = self._config.alpha
        for update in updates:
            progress.average = (1 - alpha) * progress.average + alpha * update
            if progress.average > self._config.threshold:
                progress.average = 0.0
                progress.stage = max(stage - 1, 0)
                if progress.stage != stage:
                    return True
        return False

    @property
    def mean_stage(self) -> float:
        """Over all problems; 0 when the policy writes every program whole."""
        return sum(p.stage for p in self._progress.values()) / max(len(self._progress), 1)

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON data: part of every checkpoint."""
        return {key: [p.stage, p.average] for key, p in self._progress.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a checkpoint's progress.

        Raises `ConfigError` when it speaks of other problems or stages than this run's.
        """
        if state.keys() != self._progress.keys():
            odd = sorted(state.keys() ^ self._progress.keys())
            raise ConfigError(
                f"the checkpoint's curriculum knows other problems than problems.train "
                f"({len(odd)} differ, first {odd[0]}); resume with the run's own config"
            )
        for key, (stage, average) in state.items():
            if not 0 <= stage <= self._stages[key].first or not 0 <= average <= 1:
                raise ConfigError(
                    f"the checkpoint's curriculum has {key} at stage {stage}, average {average}; "
                    f"its reference has stages 0…{self._stages[key].first}; resume with the run's "
                    "own problems and curriculum"
                )
        self._progress = {
            key: Progress(int(stage), float(average)) for key, (stage, average) in state.items()
        }
