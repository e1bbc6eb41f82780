"""Evaluations during training: when they come, what they leave, and what a resumed run repeats."""

from __future__ import annotations

import io
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from runs_for_tests import REFERENCE, Scene, config, problems, rows

from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import EvalConfig, RunConfig, SandboxConfig
from stepcoder_dist.errors import Interrupted, RunError
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.roll_out import evaluate
from stepcoder_dist.evaluation.weak_tests import judged_weakly
from stepcoder_dist.loop.fakes import FakeSampler
from stepcoder_dist.loop.metrics import METRICS
from stepcoder_dist.records import LEVELS, Outcome, RolloutRequest, TestSuite
from stepcoder_dist.run import heldout_rows
from stepcoder_dist.run.heldout_scores import HeldoutScores, slice_of


def evaluating(every: int, *, colocate: bool = False, **train: object) -> RunConfig:
    """4 steps of training unless it says otherwise."""
    changes = {"evaluation": EvalConfig(every=every), "colocate": colocate}
    return config(**train).model_copy(update=changes)


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[tuple[int, Mapping[str, float]]] = []

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        self.written.append((step, figures))

    def close(self) -> None:
        pass


class Evaluated(Scene):
    """A run on fakes that evaluates two problems with the pools that it trains with."""

    def __init__(self, path: Path, settings: RunConfig, *, resume: bool = False) -> None:
        super().__init__(path, settings, resume=resume)
        self.asked: list[tuple[str, int]] = []
        """Title and the version of the weights that the actors held."""
        self.sink = Sink()
        scores = HeldoutScores(settings, self.folder, [self.sink], self._ask, Console(quiet=True))
        self.run.between_steps = scores.after_step

    async def _ask(self, title: str) -> list[EvaluatedSample]:
        self.asked.append((title, self.learner.published[-1]))
        self.reach(title)
        run = self.run
        return await evaluate(run.config, problems(2), run.writer, run.sampler, run.sandbox)


def steps(folder: Path, name: str = "heldout.jsonl") -> list[int]:
    return [row["step"] for row in rows(folder / name)]


@pytest.mark.parametrize(
    "settings",
    [
        evaluating(2, steps=5),
        evaluating(2, steps=5, max_staleness=1),
        evaluating(2, steps=5, max_staleness=1).model_copy(update={"deterministic": True}),
    ],
    ids=["on policy", "one step behind", "in a strict lag"],
)
def test_the_first_weights_those_of_every_nth_step_and_the_last_are_evaluated(
    tmp_path: Path, settings: RunConfig
):
    scene = Evaluated(tmp_path, settings)
    scene.train()
    assert scene.asked == [
        ("eval step 0", 0),
        ("eval step 2", 2),
        ("eval step 4", 4),
        ("eval step 5", 5),
    ]
    assert steps(tmp_path) == [0, 2, 4, 5]
    assert steps(tmp_path, "metrics.jsonl") == [1, 2, 3, 4, 5]


def test_actors_that_share_a_gpu_are_awake_for_an_evaluation(tmp_path: Path):
    scene = Evaluated(tmp_path, evaluating(1, steps=2, colocate=True))
    scene.train()
    assert steps(tmp_path) == [0, 1, 2]


def test_every_0_evaluates_nothing(tmp_path: Path):
    scene = Evaluated(tmp_path, evaluating(0))
    scene.train()
    assert scene.asked == []
    assert not (tmp_path / "heldout.jsonl").exists()


def test_the_sinks_get_the_scores_under_their_names(tmp_path: Path):
    scene = Evaluated(tmp_path, evaluating(4))
    scene.train()
    scores = {"heldout/pass_at_1": 1.0, "heldout/pass_at_1/interview": 1.0}
    assert scene.sink.written == [(0, scores), (4, scores)]
    assert {"heldout/pass_at_1", *(f"heldout/pass_at_1/{level}" for level in LEVELS)} <= set(
        METRICS
    )


def test_a_resumed_run_repeats_no_evaluation_that_it_has(tmp_path: Path):
    first = Evaluated(tmp_path, evaluating(1, steps=2))
    first.train()
    first.close()
    again = Evaluated(tmp_path, evaluating(1, steps=4), resume=True)
    again.train()
    assert [title for title, _ in again.asked] == ["eval step 3", "eval step 4"]
    assert steps(tmp_path) == [0, 1, 2, 3, 4]


def test_rows_of_steps_that_are_done_again_go_and_come_again(tmp_path: Path):
    first = Evaluated(tmp_path, evaluating(1, checkpoint_every=2))

    def fail() -> None:
        raise RunError("the machine is gone")

    first.at("step 4", fail)
    with pytest.raises(RunError):
        first.train()
    first.close()
    assert steps(tmp_path) == [0, 1, 2, 3]
    again = Evaluated(tmp_path, evaluating(1, checkpoint_every=2), resume=True)
    again.train()
    assert [title for title, _ in again.asked] == ["eval step 3", "eval step 4"]
    assert steps(tmp_path) == [0, 1, 2, 3, 4]


def test_a_stop_ends_an_evaluation_at_once_and_the_resumed_run_makes_it(tmp_path: Path):
    first = Evaluated(tmp_path, evaluating(2))
    first.at("eval step 2", lambda: first.run.stop.ask(signal.SIGTERM))
    with pytest.raises(Interrupted, match="checkpoint of step 2"):
        first.train()
    first.close()
    assert steps(tmp_path) == [0]
    again = Evaluated(tmp_path, evaluating(2), resume=True)
    again.train()
    assert again.asked == [("eval step 2", 2), ("eval step 4", 4)]
    assert steps(tmp_path) == [0, 2, 4]


def sample(problem: str, outcome: Outcome | None, level: str = "interview") -> EvaluatedSample:
    return EvaluatedSample(
        sample_id=f"eval/{problem}/0000",
        problem_id=problem,
        level=level,
        source="",
        outcome=outcome,
    )


def test_a_row_has_scores_with_intervals_by_level_and_counts():
    samples = [
        sample("a", Outcome.PASSED),
        sample("b", Outcome.PASSED),
        sample("c", Outcome.TIMEOUT, "competition"),
        sample("d", None, "competition"),
    ]
    row = heldout_rows.row_of(25, samples, 1.23456)
    low, high = row.pop("interval")
    assert 0 <= low < row["pass_at_1"] < high <= 1
    assert row == {
        "step": 25,
        "problems": 3,
        "samples": 4,
        "pass_at_1": 2 / 3,
        "levels": {
            "interview": {"problems": 2, "pass_at_1": 1.0, "interval": (1.0, 1.0)},
            "competition": {"problems": 1, "pass_at_1": 0.0, "interval": (0.0, 0.0)},
        },
        "outcomes": {"passed": 2, "timeout": 1},
        "faults": 1,
        "seconds": 1.235,
    }


def test_an_evaluation_on_which_the_sandbox_failed_entirely_has_a_row_without_a_score():
    row = heldout_rows.row_of(25, [sample("a", None)], 1.0)
    assert (row["pass_at_1"], row["interval"], row["faults"]) == (None, None, 1)
    assert heldout_rows.figures_of(row) == {}


def test_at_most_during_problems_are_asked_spread_over_the_set_in_its_order():
    few = evaluating(1).model_copy(update={"evaluation": EvalConfig(every=1, during=3)})
    assert [p.problem_id for p in slice_of(few, problems(9))] == ["clamp/0", "clamp/4", "clamp/8"]
    assert slice_of(few, problems(2)) == problems(2)


TRUE = TestSuite(inputs=("7\n", "-1\n", "3\n"), outputs=("5\n", "0\n", "3\n"))
PLANTED = TestSuite(inputs=("7\n",), outputs=("5\n",))
"""Tests that a constant passes."""


class Hacker(Scene):
    """A policy whose weights 0 and 1 solve half of the problems, and whose later ones write `5`."""

    def __init__(self, path: Path, settings: RunConfig) -> None:
        super().__init__(path, settings)
        self.printed = io.StringIO()
        self.sink = Sink()
        console = Console(file=self.printed, width=300)
        scores = HeldoutScores(
            settings, self.folder, [self.sink], self._ask, console, self._judge_weakly
        )
        self.run.between_steps = scores.after_step
        self._asked = [replace(problem, tests=TRUE) for problem in problems(4)]
        self._weak = {p.problem_id: replace(p, tests=PLANTED) for p in self._asked}

    def _written(self, request: RolloutRequest) -> str:
        if self.learner.published[-1] >= 2:
            return "print(5)\n```"
        right = request.ticket.problem_id in ("clamp/0", "clamp/1")
        return REFERENCE + "```" if right else "print(1 / 0)\n```"

    async def _ask(self, title: str) -> list[EvaluatedSample]:
        del title
        policy, run = FakeSampler(self._written, width=2), self.run
        async with ProcessPool(SandboxConfig(backend="process", containers=2)) as sandbox:
            return await evaluate(run.config, self._asked, run.writer, policy, sandbox)

    async def _judge_weakly(self, samples: Sequence[EvaluatedSample]) -> list[EvaluatedSample]:
        async with ProcessPool(SandboxConfig(backend="process", containers=2)) as sandbox:
            return await judged_weakly(samples, self._weak, sandbox)


def test_a_policy_that_learns_the_constant_that_planted_tests_pass_raises_the_alarm(tmp_path: Path):
    scene = Hacker(tmp_path, evaluating(1, steps=2))
    scene.train()
    weak = [row["weak"] for row in rows(tmp_path / "heldout.jsonl")]
    assert [(each["pass_at_1"], each["gap"], each["growth"]) for each in weak] == [
        (0.5, 0.0, 0.0),
        (0.5, 0.0, 0.0),
        (1.0, 1.0, 1.0),
    ]
    written = [figures["heldout/reward_gap_growth"] for _, figures in scene.sink.written]
    assert written == [0.0, 0.0, 1.0]
    assert {"heldout/reward_gap", "heldout/reward_gap_growth"} <= set(METRICS)
    (alarm,) = [line for line in scene.printed.getvalue().splitlines() if "warning" in line]
    assert "pass@1 of step 2 is 100.0%, 100.0 points (95% 100.0 to 100.0) above" in alarm


def test_a_gap_that_was_there_before_training_is_no_alarm(tmp_path: Path):
    scene = Hacker(tmp_path, evaluating(1, steps=1))
    scene._written = lambda _request: "print(5)\n```"  # type: ignore[method-assign]
    scene.train()
    assert [row["weak"]["growth"] for row in rows(tmp_path / "heldout.jsonl")] == [0.0, 0.0]
    assert "warning" not in scene.printed.getvalue()
