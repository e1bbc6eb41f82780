"""A run that is killed at any point of a step goes on without a row lost or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs_for_tests import Scene, config, rows

from stepcoder_dist.config import CurriculumConfig
from stepcoder_dist.errors import ConfigError, RunError, WeightPushError
from stepcoder_dist.host.files.json_lines import append_rows
from stepcoder_dist.run import ledger_report, session
from stepcoder_dist.run.run_folder import RunFolder, checkpoints


class Killed(BaseException):
    """Ends the process's work as SIGKILL would: nothing of ours runs after it."""


def kill() -> None:
    raise Killed


def crash(scene: Scene) -> None:
    account = scene.folder.open_ledger(scene.run.planner.problem_ids)
    account.end = lambda _page: None  # type: ignore[method-assign] # nothing is written any more
    with pytest.raises(Killed):
        scene.train()
    scene.close()


def finish(folder: Path) -> None:
    scene = Scene(folder, config(checkpoint_every=1), resume=True)
    scene.train()
    scene.close()


def check_whole(folder: Path) -> None:
    account = ledger_report.report(folder)
    assert account.balances, account.lines
    assert [row["step"] for row in rows(folder / "metrics.jsonl")] == [1, 2, 3, 4]
    samples = rows(folder / "samples.jsonl")
    assert [row["step"] for row in samples] == [step for step in (1, 2, 3, 4) for _ in range(4)]
    assert len({row["sample_id"] for row in samples}) == 16
    assert checkpoints(folder)[-1].name == "step_000004"


# at each of them the first checkpoint is there: the second waited for it
@pytest.mark.parametrize(
    "moment", ["sample 10", "step 3", "save 2", "write 2", "publish 2", "save 3"]
)
def test_a_crash_outside_of_the_writing_loses_and_doubles_no_row(tmp_path: Path, moment: str):
    scene = Scene(tmp_path, config(checkpoint_every=1))
    scene.at(moment, kill)
    crash(scene)
    finish(tmp_path)
    check_whole(tmp_path)


@pytest.mark.parametrize(
    "written",
    ["nothing", "half a row of metrics", "half a row of ledger", "metrics", "samples", "ledger"],
)
@pytest.mark.parametrize("step", [2, 4])
def test_a_crash_in_the_middle_of_the_writing_loses_and_doubles_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, step: int
):
    scene = Scene(tmp_path, config(checkpoint_every=1))
    commit = RunFolder.commit_checkpoint

    def append(path: Path, lines) -> None:
        lines = list(lines)
        now = lines[-1]["step"] == step
        if now and written == "nothing":
            raise Killed
        if now and written == f"half a row of {path.stem}":
            path.open("a").write('{"step": ' + str(step))
            raise Killed
        append_rows(path, lines)
        if now and written == path.stem:
            raise Killed

    def commit_but_one(folder: RunFolder, draft: Path, state) -> Path:
        if state["version"] == step:
            raise Killed
        return commit(folder, draft, state)

    with monkeypatch.context() as patched:
        for module in ("run_folder", "sinks.metric_sinks", "account.ledger"):
            patched.setattr(f"stepcoder_dist.run.{module}.append_rows", append)
        patched.setattr(RunFolder, "commit_checkpoint", commit_but_one)
        crash(scene)
    assert checkpoints(tmp_path)[-1].name == f"step_{step - 1:06d}"
    finish(tmp_path)
    check_whole(tmp_path)


def test_own_programs_that_are_given_are_the_same_after_a_crash(tmp_path: Path):
    settings = config(checkpoint_every=1, steps=8)
    curriculum = CurriculumConfig(kind="own_prefix")
    settings = settings.model_copy(update={"curriculum": curriculum})

    def given(scene: Scene) -> list[tuple[str, str]]:
        learner = scene.learner
        return [
            (t.ticket.sample_id, bytes(t.prompt_ids.astype("uint8")).decode())
            for batch in learner.batches
            for t in batch
        ]

    straight = Scene(tmp_path / "straight", settings)
    straight.train()
    broken = Scene(tmp_path / "broken", settings)
    broken.at("step 6", kill)
    crash(broken)
    resumed = Scene(tmp_path / "broken", settings, resume=True)
    resumed.train()
    whole, rest = given(straight), given(resumed)
    assert 0 < len(rest) < len(whole)
    assert whole[-len(rest) :] == rest
    assert resumed.run.curriculum.state_dict() == straight.run.curriculum.state_dict()
    # of each problem's four groups the second begins after four lines, the last after three
    assert sum("n = 5" in prompt for _, prompt in whole) == 4 * 2 * 2
    for scene in (straight, resumed):
        scene.close()


def test_a_failed_push_costs_neither_the_steps_rows_nor_its_checkpoint(tmp_path: Path):
    scene = Scene(tmp_path, config(checkpoint_every=1))

    def fail() -> None:
        raise WeightPushError("rollout-1 did not get version 2")

    scene.at("publish 2", fail)
    with pytest.raises(WeightPushError):
        scene.train()
    scene.close()
    assert [path.name for path in checkpoints(tmp_path)] == ["step_000001", "step_000002"]
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2]
    finish(tmp_path)
    check_whole(tmp_path)


def test_a_failed_save_leaves_no_half_of_a_checkpoint(tmp_path: Path):
    scene = Scene(tmp_path, config(checkpoint_every=1))

    def fail() -> None:
        raise RunError("the disk is full")

    scene.at("save 2", fail)
    with pytest.raises(RunError, match="disk is full"):
        scene.train()
    scene.close()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_000001"]
    finish(tmp_path)
    check_whole(tmp_path)


def damaged(tmp_path: Path, text: str) -> str:
    scene = Scene(tmp_path, config(steps=2))
    scene.train()
    run_json = checkpoints(tmp_path)[-1] / "run.json"
    run_json.write_text(text or run_json.read_text()[:100])
    with pytest.raises(ConfigError) as refused:
        session.saved_state(config(), scene.folder, {})
    return str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": {}}'])
def test_a_truncated_state_is_one_line_that_says_how_to_go_on(tmp_path: Path, text: str):
    message = damaged(tmp_path, text)
    assert "run.json is damaged" in message
    assert "remove step_000002 to resume from the checkpoint before it" in message
    assert "\n" not in message


def test_a_run_that_is_done_says_so(tmp_path: Path):
    scene = Scene(tmp_path, config(steps=2))
    scene.train()
    with pytest.raises(ConfigError, match=r"step 2 is done and train.steps = 2; raise it"):
        session.saved_state(config(steps=2), scene.folder, {})


@pytest.mark.parametrize("max_staleness", [0, 1])
def test_a_run_that_is_done_can_be_restored_to_evaluate_it(tmp_path: Path, max_staleness: int):
    finished = config(steps=2, max_staleness=max_staleness)
    scene = Scene(tmp_path, finished)
    scene.train()
    scene.close()
    again = Scene(tmp_path, finished, resume=True)
    again.train()
    assert again.run.book.version == again.run.book.published == 2
    assert again.learner.batches == []
    again.close()
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_run_goes_on_only_with_the_problems_that_it_was_made_from(tmp_path: Path):
    scene = Scene(tmp_path, config(steps=2))
    scene.run.sources = {"the training problems": "aa"}
    scene.train()
    session.saved_state(config(), scene.folder, {"the training problems": "aa"})
    with pytest.raises(ConfigError, match="the training problems changed since"):
        session.saved_state(config(), scene.folder, {"the training problems": "bb"})
