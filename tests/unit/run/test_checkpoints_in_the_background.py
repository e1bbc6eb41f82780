"""A checkpoint is written while the next steps run, and becomes visible after its step's rows."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import Scene, config, rows

from stepcoder_dist.errors import Interrupted, RunError, WeightPushError
from stepcoder_dist.run.run_folder import RunFolder, checkpoints


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoints(folder)]


class SlowDisk:
    """Writes the checkpoint of one version only when it may."""

    def __init__(self, scene: Scene, version: int) -> None:
        self._version = version
        self.free = asyncio.Event()
        scene.disk = self

    async def __call__(self, version: int) -> None:
        if version == self._version:
            async with asyncio.timeout(30):
                await self.free.wait()


def test_the_next_step_runs_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=2))
    disk = SlowDisk(scene, 2)
    seen: list[str] = []

    def step_3() -> None:
        seen.extend(names(tmp_path))
        disk.free.set()

    scene.at("step 3", step_3)
    scene.train()
    assert seen == []
    assert names(tmp_path) == ["step_000002", "step_000004"]
    timed = [row["step"] for row in rows(tmp_path / "metrics.jsonl") if "checkpoint_write_s" in row]
    assert timed in ([3], [4])


def test_a_second_write_waits_for_the_first(tmp_path: Path) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=1))
    writing: list[int] = []

    async def disk(version: int) -> None:
        writing.append(version)
        for _ in range(50):
            await asyncio.sleep(0)
        assert writing == [version]
        writing.remove(version)

    scene.disk = disk
    scene.train()
    assert names(tmp_path) == [f"step_00000{step}" for step in (1, 2, 3, 4)]


def test_a_checkpoint_waits_for_the_rows_of_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=1))
    commit, publish = RunFolder.commit_checkpoint, scene.learner.publish

    def checked(folder: RunFolder, draft: Path, state: Any) -> Path:
        assert rows(tmp_path / "metrics.jsonl")[-1]["step"] >= state["version"]
        assert rows(tmp_path / "samples.jsonl")[-1]["step"] >= state["version"]
        return commit(folder, draft, state)

    async def long_push(targets: Sequence[Any], *, deadline_s: float) -> int:
        for _ in range(200):  # the write has ended before the rows are written
            await asyncio.sleep(0)
        return await publish(targets, deadline_s=deadline_s)

    monkeypatch.setattr(RunFolder, "commit_checkpoint", checked)
    scene.learner.publish = long_push  # type: ignore[method-assign]
    scene.train()
    assert names(tmp_path)[-1] == "step_000004"


def test_a_write_that_fails_ends_the_run_with_the_rows_of_the_step_in_progress(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=4, steps=8))

    def fail() -> None:
        raise RunError("checkpoints/step_000004: no space left")

    scene.at("write 4", fail)
    with pytest.raises(RunError, match="step_000004: no space left"):
        scene.train()
    scene.close()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == []
    assert rows(tmp_path / "metrics.jsonl")[-1]["step"] in (4, 5)


@pytest.mark.parametrize("stopped", ["step 3", "sample 10"])
def test_a_stop_waits_for_the_checkpoint_that_is_being_written(
    tmp_path: Path, stopped: str
) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=2))
    disk = SlowDisk(scene, 2)

    def stop() -> None:
        scene.run.stop.ask(signal.SIGTERM)
        asyncio.get_running_loop().call_later(0.05, disk.free.set)

    scene.at(stopped, stop)
    done = 3 if stopped == "step 3" else 2
    with pytest.raises(Interrupted, match=f"checkpoint of step {done} in"):
        scene.train()
    assert names(tmp_path) == [f"step_00000{step}" for step in range(2, done + 1)]


def test_an_error_of_the_run_does_not_cost_the_checkpoint_that_is_being_written(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=2))
    disk = SlowDisk(scene, 2)

    def fail() -> None:
        asyncio.get_running_loop().call_later(0.05, disk.free.set)
        raise WeightPushError("rollout-1 is gone")

    scene.at("publish 3", fail)
    with pytest.raises(WeightPushError, match="rollout-1 is gone"):
        scene.train()
    scene.close()
    assert names(tmp_path) == ["step_000002"]


def test_of_two_errors_the_first_is_reported(tmp_path: Path) -> None:
    scene = Scene(tmp_path, config(checkpoint_every=2))
    disk = SlowDisk(scene, 2)

    def fail() -> None:
        asyncio.get_running_loop().call_later(0.05, disk.free.set)
        raise RunError("the learner is gone")

    def full() -> None:
        raise RunError("the disk is full")

    scene.at("step 3", fail)
    scene.at("write 2", full)
    with pytest.raises(RunError, match="the learner is gone"):
        scene.train()
    assert names(tmp_path) == []
