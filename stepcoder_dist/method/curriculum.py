"""Where every problem starts: a curriculum of code-completion subtasks (StepCoder §3, CCCS).

The policy is given the head of a program, by default of the reference solution, and writes the
rest. A problem has stages, each with a longer head than the one before; at stage 0 nothing is
given. A rule of `start_rules` decides what the stages are and moves a problem between them. The
paper's is arXiv 2402.01391, Algorithm 1 (`cccs.py`).

Pure data: nothing here runs a program, and all state goes through `state_dict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.method import start_rules
from stepcoder_dist.method.start_rules.progress import Progress
from stepcoder_dist.records import Problem
from stepcoder_dist.text.program import StartPoint, line_starts


class Curriculum:
    """Chooses start points, and moves them as outcomes are recorded by `curriculum.kind`'s rule."""

    def __init__(self, config: CurriculumConfig, problems: Iterable[Problem]) -> None:
        self._config = config
        self._rule = start_rules.rule(config.kind)
        self._references = {p.problem_id: p.reference for p in problems}
        own = self._rule.gives_own
        self._starts = {
            problem_id: self._rule.starts("" if own else source)
            for problem_id, source in self._references.items()
        }
        """The line of each stage, where what is given is the reference's."""
        self._progress = {
            key: Progress(self._rule.first(len(starts) - 1, config))
            for key, starts in self._starts.items()
        }

    def start_point(self, problem_id: str, stage: int | None = None) -> StartPoint:
        """Return where the policy starts on this problem, at its current or at a given stage.

        Raises `ValueError` for a stage that the problem does not have.
        """
        progress = self._progress[problem_id]
        if stage is None:
            stage = progress.stage
        starts = self._starts_of(problem_id, progress)
        if not 0 <= stage < len(starts):
            raise ValueError(f"stage {stage} of a problem with stages 0…{len(starts) - 1}")
        line, own = starts[stage], progress.program
        source = own or self._references[problem_id]
        cut = line_starts(source)[line - 1] if line else 0
        given_own = own if line else ""
        return StartPoint(problem_id=problem_id, stage=stage, line=line, cut=cut, source=given_own)

    def longest_start(self, problem_id: str) -> StartPoint:
        """Return the start point with the most code of the reference that can ever be given."""
        highest = self._rule.highest(len(self._starts[problem_id]) - 1, self._config)
        return self.start_point(problem_id, highest)

    @property
    def gives_own(self) -> bool:
        """True: what is given are heads of programs that the policy wrote, not of references."""
        return self._rule.gives_own

    def record(
        self, problem_id: str, stage: int, passed: Sequence[bool], programs: Sequence[str] = ()
    ) -> bool:
        """Count a group's outcomes, sampled at `stage`; True when they changed the problem's stage.

        `programs`: those that passed, where the rule gives heads of them. Outcomes of another stage
        than the current one say nothing about it and are ignored.
        """
        progress = self._progress[problem_id]
        if progress.stage != stage:
            return False
        progress = self._rule.remember(progress, programs)
        easiest = len(self._starts_of(problem_id, progress)) - 1
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
        return lambda: {key: p.saved() for key, p in progress.items()}

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
        progress = {key: Progress.of(row) for key, row in state.items()}
        for key, at in progress.items():
            easiest = len(self._starts_of(key, at)) - 1
            if not 0 <= at.stage <= easiest or not 0 <= at.average <= 1:
                raise ConfigError(
                    f"the checkpoint's curriculum has {key} at stage {at.stage}, average "
                    f"{at.average}; its reference has stages 0…{easiest}; resume with the run's "
                    "own problems and curriculum"
                )
        self._progress = progress

    def _starts_of(self, problem_id: str, progress: Progress) -> tuple[int, ...]:
        own = progress.program
        return self._rule.starts(own) if own else self._starts[problem_id]
