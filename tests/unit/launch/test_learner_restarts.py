"""When a learner that is lost is started again, and when the run ends with its first error."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import Interrupted, LearnerError
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.launch import learner_restarts
from stepcoder_dist.launch.learner_restarts import Attempt, with_restarts


class Story:
    """Attempts that reach these steps, one after the other, and then lose their learner."""

    def __init__(self, folder: Path, *reached: int | None, stop: StopRequest | None = None) -> None:
        """None: the ranks do not come up. Every step leaves a checkpoint, but step 1."""
        self.path = folder
        self._reached = list(reached)
        self._stop = stop or StopRequest()
        self.resumed: list[bool] = []
        self.notes: list[str] = []

    async def attempt(self, now: Attempt) -> None:
        self.resumed.append(now.resume)
        number = len(self.resumed)
        if not self._reached:
            return
        version = self._reached.pop(0)
        if version is not None:
            for step in range(2, version + 1):
                made = self.path / "checkpoints" / f"step_{step:06d}"
                made.mkdir(parents=True, exist_ok=True)
                (made / "run.json").touch()
            now.run = self._run(version)
        raise LearnerError(f"error {number}")

    def _run(self, version: int) -> Any:
        sampler = SimpleNamespace(refresh_with=lambda _: None)
        return SimpleNamespace(
            book=SimpleNamespace(version=version), stop=self._stop, sampler=sampler
        )

    def play(self, restarts: int = 3) -> None:
        config = RunConfig.model_validate(
            {
                "name": "test",
                "model": {"path": "none"},
                "problems": {"train": "none", "heldout": "none"},
                "learner": {"restarts": restarts},
                "train": {"steps": 9},
            }
        )
        folder: Any = self
        asyncio.run(with_restarts(config, folder, self.attempt, self.notes.append, resume=False))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_restarts, "FIRST_PAUSE_S", 0.0)


def test_a_lost_learner_is_resumed_from_the_newest_checkpoint(tmp_path: Path):
    story = Story(tmp_path, 4)
    story.play()
    assert story.resumed == [False, True]
    assert story.notes == [
        "error 1; starting the learner again in 0 s from the checkpoint of step 4 (restart 1 of 3)"
    ]


def test_without_progress_the_run_ends_with_the_first_error(tmp_path: Path):
    story = Story(tmp_path, 4, 4, None, 3)
    with pytest.raises(LearnerError, match=r"^error 1$"):
        story.play()
    assert story.resumed == [False, True, True, True]


def test_a_step_that_no_attempt_had_finished_starts_the_count_again(tmp_path: Path):
    story = Story(tmp_path, 4, 4, 5, 5, 6)
    story.play(restarts=2)
    assert len(story.resumed) == 6


def test_an_error_after_progress_is_the_first_one_of_its_own_row(tmp_path: Path):
    story = Story(tmp_path, 4, 5, 5, 5)
    with pytest.raises(LearnerError, match=r"^error 2$"):
        story.play(restarts=2)


@pytest.mark.parametrize("reached", [None, 0, 1])
def test_what_has_no_checkpoint_or_never_worked_ends_at_once(tmp_path: Path, reached: int | None):
    story = Story(tmp_path, reached)
    with pytest.raises(LearnerError, match=r"^error 1$"):
        story.play()
    assert story.resumed == [False]


def test_after_the_last_steps_checkpoint_there_is_nothing_to_resume(tmp_path: Path):
    story = Story(tmp_path, 9)
    with pytest.raises(LearnerError, match=r"^error 1$"):
        story.play()


def test_a_run_that_was_asked_to_stop_starts_nothing(tmp_path: Path):
    stop = StopRequest()
    stop.ask(signal.SIGTERM)
    story = Story(tmp_path, 4, stop=stop)
    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM; error 1$") as ended:
        story.play()
    assert ended.value.exit_code == 143
    assert story.resumed == [False]
