"""CCCS: a curriculum of code-completion subtasks (StepCoder §3, arXiv 2402.01391, Algorithm 1).

The policy is given the head of a reference solution and writes the rest. With E conditional
statements a problem has ⌈√E⌉ stages; at stage c > 0 it starts at the line of conditional number
⌈E/⌈√E⌉⌉·c (0-based), at stage 0 from nothing. A problem begins at its last stage and moves to
the one before when a moving average of full passes exceeds a threshold. That is the paper's rule;
`start_rules.py` has it and the others, over the same stages.

Pure data: nothing here runs the reference, and all state goes through `state_dict`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.method.start_rules import RULES, Progress
from stepcoder_dist.records import Problem
from stepcoder_dist.text.program import StartPoint, line_starts

_CONDITIONALS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Match)
_ELIF = re.compile(r"[ \t\f]*elif\b")


def conditional_lines(source: str) -> tuple[int, ...]:
    """Return the 1-based first lines, ascending, of `if`, `for`, `while` and `match` statements.

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
    """Return the `if` node that is this one's `elif`; in the tree it looks like `else:` + `if`."""
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
        """The easiest stage, with the most given code: where CCCS begins."""
        return max(self.stages - 1, 0)

    def start_line(self, stage: int) -> int:
        """Return the 1-based line at which the policy starts; 0 where nothing is given.

        Raises `ValueError` for a stage that the problem does not have.
        """
        if not 0 <= stage <= self.first:
            raise ValueError(f"stage {stage} of a problem with stages 0…{self.first}")
        return self.conditional_lines[self.stride * stage] if stage else 0


class Curriculum:
    """Chooses start points, and moves them as outcomes are recorded by `curriculum.kind`'s rule."""

    def __init__(self, config: CurriculumConfig, problems: Iterable[Problem]) -> None:
        self._config = config
        self._rule = RULES[config.kind]
        self._references = {p.problem_id: p.reference for p in problems}
        self._stages = {
            problem_id: Stages(conditional_lines(source) if config.kind != "none" else ())
            for problem_id, source in self._references.items()
        }
        self._progress = {
            key: Progress(self._rule.first(stages.first, config))
            for key, stages in self._stages.items()
        }

    def start_point(self, problem_id: str, stage: int | None = None) -> StartPoint:
        """Return where the policy starts on this problem, at its current or at a given stage."""
        if stage is None:
            stage = self._progress[problem_id].stage
        line = self._stages[problem_id].start_line(stage)
        cut = line_starts(self._references[problem_id])[line - 1] if line else 0
        return StartPoint(problem_id=problem_id, stage=stage, line=line, cut=cut)

    def longest_start(self, problem_id: str) -> StartPoint:
        """Return the start point with the most given code that this problem can ever have."""
        highest = self._rule.highest(self._stages[problem_id].first, self._config)
        return self.start_point(problem_id, highest)

    def record(self, problem_id: str, stage: int, passed: Sequence[bool]) -> bool:
        """Count a group's outcomes, sampled at `stage`; True when they changed the problem's stage.

        Outcomes of another stage than the current one say nothing about it and are ignored.
        """
        progress = self._progress[problem_id]
        if progress.stage != stage:
            return False
        easiest = self._stages[problem_id].first
        moved = self._rule.after(progress, passed, easiest, self._config)
        self._progress[problem_id] = moved
        return moved.stage != stage

    @property
    def mean_stage(self) -> float:
        """The mean over all problems; 0 when the policy writes every program from nothing."""
        return sum(p.stage for p in self._progress.values()) / max(len(self._progress), 1)

    def state_dict(self) -> dict[str, Any]:
        """Return plain JSON data: part of every checkpoint."""
        return self.frozen()()

    def frozen(self) -> Callable[[], dict[str, Any]]:
        """Return what makes the `state_dict` of now, whenever it is called."""
        progress = self._progress.copy()
        return lambda: {key: [p.stage, p.average] for key, p in progress.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a checkpoint's progress.

        Raises `ConfigError` when it has other problems or stages than this run.
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
