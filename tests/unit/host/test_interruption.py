"""How signals and requests to stop end a run: at a safe place, with a checkpoint, once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from runs_for_tests import Scene, config, rows

from stepcoder_dist.errors import Interrupted, StopAsked
from stepcoder_dist.host.interruption import StopRequest
from stepcoder_dist.run import session
from stepcoder_dist.run.run_folder import checkpoints


def stop_when(scene: Scene, moment: str) -> None:
    """Train until the moment comes, be asked to stop there, and end."""
    scene.at(moment, scene.run.stop.ask)
    with pytest.raises(Interrupted, match="stopped by SIGTERM") as stopped:
        scene.train()
    assert stopped.value.exit_code == 143


def test_while_it_rolls_out_a_run_stops_at_once_with_the_last_finished_step(tmp_path: Path):
    scene = Scene(tmp_path, config())
    stop_when(scene, "sample 9")  # 4 samples a step: in the third step
    assert [path.name for path in checkpoints(tmp_path)] == ["step_000002"]
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2]
    assert scene.run.book.open_ids == frozenset()


def test_a_learner_step_in_progress_is_finished_and_is_the_checkpoint(tmp_path: Path):
    scene = Scene(tmp_path, config())
    stop_when(scene, "step 2")
    assert [path.name for path in checkpoints(tmp_path)] == ["step_000002"]
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2]
    assert scene.learner.published == [0, 1], "nobody will sample with version 2"


def test_a_push_in_progress_is_finished_first(tmp_path: Path):
    scene = Scene(tmp_path, config())
    stop_when(scene, "publish 2")
    assert [path.name for path in checkpoints(tmp_path)] == ["step_000002"]
    assert scene.learner.published == [0, 1, 2]


def test_a_checkpoint_that_is_there_already_is_not_written_again(tmp_path: Path):
    scene = Scene(tmp_path, config(checkpoint_every=2))
    stop_when(scene, "sample 9")
    assert scene.learner.saved == [2]


def test_before_the_first_step_there_is_nothing_to_save(tmp_path: Path):
    scene = Scene(tmp_path, config())
    scene.at("sample 1", scene.run.stop.ask)
    with pytest.raises(Interrupted, match="no step was finished, so there is no checkpoint"):
        scene.train()
    assert checkpoints(tmp_path) == []


@pytest.mark.parametrize("moment", ["sample 9", "sample 11", "step 2", "step 3", "publish 2"])
@pytest.mark.parametrize("staleness", [0, 1])
def test_wherever_it_is_stopped_every_sample_is_trained_once_and_the_batches_are_full(
    tmp_path: Path, moment: str, staleness: int
):
    settings = config(max_staleness=staleness, steps=6)
    first = Scene(tmp_path, settings)
    stop_when(first, moment)
    first.close()
    second = Scene(tmp_path, settings, resume=True)
    second.train()
    trained = [row["sample_id"] for row in rows(tmp_path / "samples.jsonl")]
    assert len(trained) == len(set(trained)) == 6 * 4
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert second.run.book.fates["trained"] == 24
    assert set(trained) == {
        f"s{step:06d}-{index:04d}-{sample:04d}"
        for step in range(6)
        for index in range(2)
        for sample in range(2)
    }


def test_work_that_ends_is_returned_and_work_that_is_given_up_is_cancelled():
    async def scenario() -> None:
        stop = StopRequest()
        assert await stop.first(asyncio.sleep(0, "done")) == "done"
        never = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(stop.ask)
        with pytest.raises(StopAsked):
            await stop.first(never)
        assert never.cancelled()

    asyncio.run(scenario())


COMMAND = """
    import asyncio, sys
    from stepcoder_dist.cli import commands as cli
    from stepcoder_dist.host import interruption

    async def command(stop):
        try:
            with stop.heed(lambda name: print(f"asked by {name}", flush=True)):
                print("ready", flush=True)
                await asyncio.Event().wait()
        finally:
            print("closed", flush=True)

    def app(**_):
        stop = interruption.StopRequest()
        interruption.run_until_done(command(stop), stop)

    cli.app = app
    sys.exit(cli.run([]))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once_closes_everything_and_gives_the_shells_exit_code(
    by: signal.Signals,
):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(COMMAND)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, by)
    assert process.stdout.readline() == f"asked by {by.name}\n"
    os.kill(process.pid, by)
    rest = process.stdout.read()
    assert process.wait() == 128 + by
    assert rest == f"closed\nstepcoder: stopped by {by.name}\n"


def test_restoring_a_run_takes_the_state_of_its_newest_checkpoint(tmp_path: Path):
    first = Scene(tmp_path, config(steps=2))
    first.train()
    first.close()
    second = Scene(tmp_path, config())
    asyncio.run(session.restore(second.run, second.folder))
    assert second.run.book.version == 2
    assert second.run.book.planned_steps == 2
    assert second.run.curriculum.state_dict() == first.run.curriculum.state_dict()
