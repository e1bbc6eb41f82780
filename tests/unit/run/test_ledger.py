"""The account of every sample balances over faults, kills and resumptions, and says when not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from runs_for_tests import Scene, config, rows

from stepcoder_dist.cli import commands
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError, SandboxFault
from stepcoder_dist.run import ledger_report
from stepcoder_dist.run.run_folder import checkpoints

Rows = list[dict[str, Any]]


class Killed(BaseException):
    """Ends the process's work as SIGKILL would."""


def kill() -> None:
    raise Killed


def fault() -> None:
    raise SandboxFault("the container is gone")


def killed(scene: Scene) -> bool:
    """Train; whether a moment killed the run, after which nothing of it is written."""
    scene.folder.open_ledger(scene.run.planner.problem_ids).end = lambda _page: None  # type: ignore[method-assign]
    try:
        scene.train()
    except Killed:
        return True
    finally:
        scene.close()
    return False


def finished(folder: Path, *, resume: bool = False, **train: object) -> None:
    scene = Scene(folder, config(checkpoint_every=1, **train), resume=resume)
    scene.train()
    scene.close()


def account(folder: Path) -> str:
    return "\n".join(ledger_report.report(folder).lines)


def count(folder: Path, name: str) -> int:
    lines = ledger_report.report(folder).lines
    return next(int(line.split()[0]) for line in lines if f" {name}" in line)


def test_the_account_of_a_finished_run_balances(tmp_path: Path):
    finished(tmp_path)
    assert account(tmp_path).splitlines() == [
        f"run {tmp_path.name}: 4 steps, 0 resumptions",
        "       16 trained",
        "        0 rejected",
        "        0 infrastructure error",
        "        0 cancelled",
        "        0 under way",
        "OK: each of 16 samples is accounted for once",
    ]


def test_faults_and_what_ran_ahead_at_the_end_have_their_own_lines(tmp_path: Path):
    scene = Scene(tmp_path, config(max_staleness=1))
    scene.at("sample 3", fault)
    scene.at("sample 9", fault)
    scene.train()
    scene.close()
    assert count(tmp_path, "trained") == 16
    assert count(tmp_path, "infrastructure error") == 2
    assert account(tmp_path).endswith("OK: each of 18 samples is accounted for once")


def test_a_killed_run_says_that_it_did_not_end_and_a_resumed_one_takes_its_samples_up(
    tmp_path: Path,
):
    scene = Scene(tmp_path, config(checkpoint_every=1))
    scene.at("step 4", kill)
    assert killed(scene)
    report = ledger_report.report(tmp_path)
    assert report.balances
    assert "the run did not end by itself" in account(tmp_path)
    assert count(tmp_path, "trained") == 12
    # that of step 3 may still be written; step 2's is there, for two are never written at a time
    newest = int(checkpoints(tmp_path)[-1].name.removeprefix("step_"))
    assert newest in {2, 3}
    finished(tmp_path, resume=True)
    assert "1 resumptions" in account(tmp_path)
    taken_back = f"{4 * (3 - newest)} fates were taken back by a resumption"
    assert newest == 3 or taken_back in account(tmp_path)
    assert count(tmp_path, "trained") == 16
    assert ledger_report.report(tmp_path).balances


def test_a_run_that_is_extended_takes_up_what_was_cancelled_at_its_end(tmp_path: Path):
    scene = Scene(tmp_path, config(steps=2, checkpoint_every=1))
    scene.train()
    scene.close()
    finished(tmp_path, resume=True)
    assert ledger_report.report(tmp_path).balances
    assert count(tmp_path, "trained") == 16


def test_a_live_run_is_said_to_be_live(tmp_path: Path):
    scene = Scene(tmp_path, config(checkpoint_every=1))
    seen: list[str] = []
    scene.at("publish 3", lambda: seen.append(account(tmp_path)))
    scene.train()
    scene.close()
    assert "the run is live" in seen[0]
    assert "OK: " in seen[0]


def test_a_live_run_that_goes_on_while_it_is_read_balances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its ledger is read first: when its samples are, they are those of later steps too."""
    finished(tmp_path)
    ledger = (tmp_path / "ledger.jsonl").read_text()
    until_step_2 = ledger[: ledger.index('{"event": "planned", "step": 3')]
    (tmp_path / "ledger.jsonl").write_text(until_step_2)
    assert "NOT BALANCED: " in account(tmp_path)
    monkeypatch.setattr(ledger_report, "_is_live", lambda _run_dir: True)
    assert "OK: each of 8 samples" in account(tmp_path)
    # what is there of the steps that were read counts as ever
    kept = [row for row in rows(tmp_path / "samples.jsonl") if row["step"] != 2]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert "trained in step 2, and has no reward" in account(tmp_path)


def test_a_run_of_a_version_without_ledgers_gets_one_from_its_resumption_on(tmp_path: Path):
    scene = Scene(tmp_path, config(steps=2, checkpoint_every=1, max_staleness=1))
    scene.train()
    scene.close()
    (tmp_path / "ledger.jsonl").unlink()
    finished(tmp_path, resume=True, max_staleness=1)
    assert ledger_report.report(tmp_path).balances, account(tmp_path)
    assert rows(tmp_path / "ledger.jsonl")[0]["step"] == 2
    assert count(tmp_path, "trained") == 8


@settings(max_examples=30, deadline=None)
@given(
    staleness=st.integers(0, 2),
    faults=st.sets(st.integers(1, 24), max_size=5),
    kills=st.lists(
        st.tuples(st.sampled_from(["sample", "step", "publish", "save"]), st.integers(2, 9)),
        min_size=1,
        max_size=4,
    ),
    every=st.integers(1, 3),
    lags=st.booleans(),
)
@example(staleness=1, faults={7}, kills=[("step", 4), ("publish", 6)], every=3, lags=False)
@example(staleness=2, faults={7}, kills=[("step", 4), ("step", 3)], every=2, lags=True)
def test_whatever_fails_and_whenever_the_run_is_killed_the_account_balances(
    tmp_path_factory: pytest.TempPathFactory,
    staleness: int,
    faults: set[int],
    kills: list[tuple[str, int]],
    every: int,
    lags: bool,
):
    """`lags`: samples of the steps ahead are kept in checkpoints (`deterministic`)."""
    folder = tmp_path_factory.mktemp("run")
    asked = config(steps=6, checkpoint_every=every, max_staleness=staleness)
    asked = RunConfig.model_validate(asked.model_dump() | {"deterministic": lags})
    for moment, number in kills:
        resume = bool(checkpoints(folder))
        if not resume:  # nothing to resume: a new run in a new folder
            folder = tmp_path_factory.mktemp("run")
        scene = Scene(folder, asked, resume=resume)
        for sample in faults:
            scene.at(f"sample {sample}", fault)
        scene.at(f"{moment} {number}", kill)
        if not killed(scene) or checkpoints(folder)[-1:] == [folder / "checkpoints/step_000006"]:
            assert ledger_report.report(folder).balances, account(folder)
            return
        if (folder / "ledger.jsonl").exists():
            assert ledger_report.report(folder).balances, account(folder)
    if not checkpoints(folder):
        folder = tmp_path_factory.mktemp("run")
    scene = Scene(folder, asked, resume=bool(checkpoints(folder)))
    for sample in faults:
        scene.at(f"sample {sample}", fault)
    scene.train()
    scene.close()
    assert ledger_report.report(folder).balances, account(folder)
    assert count(folder, "trained") == 24
    assert count(folder, "under way") == 0


# ---------------------------------------------------------------- accounts that do not balance


def find(ledger: Rows, event: str, step: int) -> dict[str, Any]:
    return next(row for row in ledger if row["event"] == event and row["step"] == step)


def trained_again(ledger: Rows, _samples: Rows) -> None:
    find(ledger, "trained", 2)["samples"][0] = find(ledger, "trained", 1)["samples"][0]


def left_out(ledger: Rows, _samples: Rows) -> None:
    find(ledger, "trained", 2)["samples"].pop()


def skipped(ledger: Rows, _samples: Rows) -> None:
    ledger.remove(find(ledger, "planned", 2))


def other_problem(ledger: Rows, _samples: Rows) -> None:
    find(ledger, "planned", 2)["problem"] = "clamp/9"


def ended_twice(ledger: Rows, _samples: Rows) -> None:
    row = {"event": "cancelled", "step": 2, "samples": find(ledger, "trained", 1)["samples"][:1]}
    ledger.insert(ledger.index(find(ledger, "step", 2)), row)


def rewarded_fault(ledger: Rows, _samples: Rows) -> None:
    row = find(ledger, "trained", 1)
    lost = {"event": "infrastructure_error", "step": 1, "samples": [row["samples"].pop(0)]}
    ledger.insert(ledger.index(row), lost)


def no_reward(_ledger: Rows, samples: Rows) -> None:
    samples.pop(5)


def doubled_reward(_ledger: Rows, samples: Rows) -> None:
    samples.insert(5, samples[5])


def never_planned(ledger: Rows, _samples: Rows) -> None:
    find(ledger, "trained", 1)["samples"][0] = "s000000-0000-0099"


def replaced_without_loss(ledger: Rows, _samples: Rows) -> None:
    find(ledger, "planned", 1)["samples"].append("s000000-0000-0000+0001")


def lost_for_good(ledger: Rows, samples: Rows) -> None:
    rewarded_fault(ledger, samples)
    samples.pop(0)


def step_left_out(ledger: Rows, _samples: Rows) -> None:
    ledger[:] = [row for row in ledger if row["step"] != 2]


def cut_off(ledger: Rows, _samples: Rows) -> None:
    ledger[:] = [row for row in ledger if row["step"] < 4]


@pytest.mark.parametrize(
    ("corrupt", "violation"),
    [
        (trained_again, "trained twice: trained in step 1, trained in step 2"),
        (left_out, "step 2 trained 3 samples, not 4"),
        (skipped, "skipped in the plan of step 2"),
        (other_problem, "problem clamp/9: not in the plan of step 2, and planned there"),
        (ended_twice, "ended twice: trained in step 1, cancelled in step 2"),
        (rewarded_fault, "infrastructure_error, and has a reward in step 1"),
        (no_reward, "trained in step 2, and has no reward"),
        (doubled_reward, "has 2 rewards in step 2"),
        (never_planned, "sample s000000-0000-0099: trained in step 1 and never planned"),
        (replaced_without_loss, "sampled 2 times and lost 0 times"),
        (lost_for_good, "lost, and no sample took its place"),
        (step_left_out, "step 3 is recorded after step 1"),
        (cut_off, "there is a checkpoint of step 4, and the account ends with step 3"),
    ],
)
def test_an_account_that_was_changed_is_refused_by_what_is_wrong(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    corrupt: Callable[[Rows, Rows], None],
    violation: str,
):
    finished(tmp_path)
    assert commands.run(["ledger", str(tmp_path)]) == 0
    assert "OK: " in capsys.readouterr().out
    ledger, samples = rows(tmp_path / "ledger.jsonl"), rows(tmp_path / "samples.jsonl")
    corrupt(ledger, samples)
    for name, changed in (("ledger", ledger), ("samples", samples)):
        text = "".join(json.dumps(row) + "\n" for row in changed)
        (tmp_path / f"{name}.jsonl").write_text(text)
    assert commands.run(["ledger", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert violation in output
    assert "NOT BALANCED: " in output


def test_a_sample_under_way_that_the_checkpoint_does_not_know_is_named(tmp_path: Path):
    finished(tmp_path)
    run_json = checkpoints(tmp_path)[-1] / "run.json"
    state = json.loads(run_json.read_text())
    ticket = {"sample_id": "s000009-0000-0000", "group": "s000009-0000"}
    state["on_their_way"].append(ticket)
    run_json.write_text(json.dumps(state))
    assert (
        "sample s000009-0000-0000: not in the account of step 4, under way in its checkpoint"
        in account(tmp_path)
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 3 is no JSON"),
        ("[]", "line 3 is no object"),
        ("[" * 20_000 + "]" * 20_000, "line 3 is no JSON (nested too deeply)"),
        ('{"event": "step", "step": 1e999}', "line 3 is no row of a ledger: cannot convert"),
        ('{"event": "planned"}', "line 3 is no row of a ledger: no 'step'"),
        ('{"event": "eaten", "step": 1}', 'line 3 is no row of a ledger: unknown event "eaten"'),
        ('{"event": "trained", "step": 1}', "line 3 is no row of a ledger: no 'samples'"),
    ],
)
def test_a_damaged_line_is_refused_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
):
    finished(tmp_path)
    path = tmp_path / "ledger.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    assert commands.run(["ledger", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert said in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 4}', "[" * 20_000, b"\xff"])
def test_a_checkpoint_that_is_damaged_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | bytes
):
    finished(tmp_path)
    run_json = checkpoints(tmp_path)[-1] / "run.json"
    run_json.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert commands.run(["ledger", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"stepcoder: {run_json} is damaged (")
    assert told.count("\n") == 1


def test_a_copy_that_somebody_made_of_a_checkpoint_is_not_one_of_the_runs(tmp_path: Path):
    finished(tmp_path)
    newest = checkpoints(tmp_path)[-1]
    shutil.copytree(newest, newest.with_name(newest.name + ".bak"))
    shutil.copytree(newest, newest.with_name("step_best"))
    assert checkpoints(tmp_path)[-1] == newest


def test_a_folder_without_a_ledger_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no ledger\.jsonl"):
        ledger_report.report(tmp_path)


def test_a_piece_that_a_crash_left_without_its_last_row_does_not_count(tmp_path: Path):
    scene = Scene(tmp_path, config(checkpoint_every=1))
    scene.at("step 4", kill)
    assert killed(scene)
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    last = whole.rindex(b'{"event": "planned"')
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        (tmp_path / "checkpoints").rename(tmp_path / "hidden")  # it appears after the rows only
        assert ledger_report.report(tmp_path).balances, account(tmp_path)
        (tmp_path / "hidden").rename(tmp_path / "checkpoints")
