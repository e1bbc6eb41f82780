"""`stepcoder trace`: a run's rows become events that any viewer of the format can draw."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from runs_for_tests import Scene, config, rows

from stepcoder_dist.cli import commands
from stepcoder_dist.errors import SandboxFault
from stepcoder_dist.host.files.json_lines import append_rows
from stepcoder_dist.run.run_folder import checkpoints
from stepcoder_dist.run.tracing.trace_events import Event, events


def row(step: int = 1, origin: float = 0.0, **lists: Any) -> dict[str, Any]:
    return {"step": step, "origin": origin, "spans": [], "decoded": [], "judged": [], **lists}


def names(drawn: list[Event], kind: str) -> dict[int, str]:
    """Names of processes by pid, or of threads by tid."""
    key = "pid" if kind == "process_name" else "tid"
    return {e[key]: e["args"]["name"] for e in drawn if e["ph"] == "M" and e["name"] == kind}


def slices(drawn: list[Event]) -> list[Event]:
    return [event for event in drawn if event["ph"] == "X"]


def overlaps(drawn: list[Event]) -> list[tuple[Event, Event]]:
    by_thread: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in slices(drawn):
        by_thread[event["pid"], event["tid"]].append(event)
    found = []
    for lane in by_thread.values():
        lane.sort(key=lambda event: (event["ts"], event["dur"]))
        found += [(a, b) for a, b in pairwise(lane) if a["ts"] + a["dur"] > b["ts"]]
    return found


def picture(run_dir: Path, *arguments: str) -> list[Event]:
    assert commands.run(["trace", str(run_dir), *arguments]) == 0
    packed = (run_dir / "trace.json.gz").read_bytes()
    loaded: list[Event] = json.loads(gzip.decompress(packed))["traceEvents"]
    return loaded


def samples_in(drawn: list[Event], category: str) -> list[str]:
    return sorted(e["args"]["sample"] for e in slices(drawn) if e["cat"] == category)


def trained(run_dir: Path) -> list[str]:
    return sorted(row["sample_id"] for row in rows(run_dir / "samples.jsonl"))


def finish(folder: Path, *, resume: bool = False, **train: object) -> None:
    scene = Scene(folder, config(checkpoint_every=1, **train), resume=resume)
    scene.train()
    scene.close()


def test_a_sample_is_drawn_on_its_actor_and_on_its_executor_without_the_time_in_queues():
    drawn = list(
        events(
            [
                row(
                    decoded=[["s0-0-0", "rollout-1", 100, 400, 1000, 7, 3, 4]],
                    judged=[["s0-0-0", "sandbox-2", 1000, 1500, 2100, "wrong_answer"]],
                )
            ]
        )
    )
    assert names(drawn, "process_name") == {1: "rollout-1", 2: "sandbox-2"}
    decoded, judged = slices(drawn)
    assert (decoded["name"], decoded["ts"], decoded["dur"]) == ("weights 3-4", 400, 600)
    assert decoded["args"] == {"sample": "s0-0-0", "tokens": 7, "waited_ms": 0.3}
    assert (judged["name"], judged["ts"], judged["dur"]) == ("wrong_answer", 1500, 600)
    assert judged["args"] == {"sample": "s0-0-0", "queued_ms": 0.5}


def test_what_happens_at_the_same_time_is_in_several_lanes_and_a_free_lane_is_used_again():
    spans = [
        ["sandbox-0/judging", "long", 0, 30, {}],
        ["sandbox-0/judging", "first", 0, 10, {}],
        ["sandbox-0/judging", "second", 10, 20, {}],
    ]
    drawn = list(events([row(spans=spans)]))
    assert names(drawn, "thread_name") == {1: "judging", 2: "judging 2"}
    assert {e["name"]: e["tid"] for e in slices(drawn)} == {"long": 1, "first": 2, "second": 2}
    assert overlaps(drawn) == []


def test_a_long_event_of_a_later_row_does_not_overlap_those_of_the_row_before():
    first = row(1, spans=[["a/b", "x", begin, begin + 10, {}] for begin in range(0, 100, 10)])
    second = row(2, spans=[["a/b", "long", 5, 200, {}], ["a/b", "y", 110, 120, {}]])
    drawn = list(events([first, second]))
    assert overlaps(drawn) == []
    assert len(slices(drawn)) == 12


def test_a_resumption_is_drawn_after_what_it_resumes_also_where_its_clock_is_behind():
    span = ["driver/steps", "step", 0, 1_000_000, {}]
    later = [row(1, 50.0, spans=[span]), row(2, 53.0, spans=[span])]
    assert [e["ts"] for e in slices(list(events(later)))] == [0, 3_000_000]
    behind = [row(1, 50.0, spans=[span]), row(2, 20.0, spans=[span])]
    assert [e["ts"] for e in slices(list(events(behind)))] == [0, 1_000_000]


def test_processes_are_in_the_order_of_a_samples_life():
    tracks = ["weights/w", "learner/l", "sandbox-0/s", "rollout-10/r", "rollout-2/r", "driver/d"]
    drawn = list(events([row(spans=[[track, "x", 0, 1, {}] for track in tracks])]))
    name = names(drawn, "process_name")
    index = {
        name[e["pid"]]: e["args"]["sort_index"] for e in drawn if e["name"] == "process_sort_index"
    }
    in_order = ["driver", "rollout-2", "rollout-10", "sandbox-0", "learner", "weights"]
    assert sorted(index, key=lambda process: index[process]) == in_order


def test_memory_does_not_grow_with_the_length_of_a_run():
    def long_run(steps: int) -> Iterator[dict[str, Any]]:
        for step in range(steps):
            begin = step * 1000
            decoded = [[f"s{step}", "rollout-0", begin, begin, begin + 999, 9, 0, 0]] * 20
            yield row(step, decoded=decoded)

    def peak(steps: int) -> int:
        tracemalloc.start()
        assert sum(event["ph"] == "X" for event in events(long_run(steps))) == 20 * steps
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(1000) < 2 * peak(50)


@pytest.mark.parametrize("staleness", [0, 1])
def test_every_trained_sample_of_a_run_is_decoded_and_judged_once(tmp_path: Path, staleness: int):
    finish(tmp_path, max_staleness=staleness)
    drawn = picture(tmp_path)
    assert overlaps(drawn) == []
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in slices(drawn))
    for category in ("decoding", "judging"):
        assert [s for s in samples_in(drawn, category) if s in trained(tmp_path)] == trained(
            tmp_path
        )
    assert len(trained(tmp_path)) == 16


def test_a_step_holds_its_phases_and_the_learners_work(tmp_path: Path):
    finish(tmp_path, steps=1)
    drawn = {event["name"]: event for event in slices(picture(tmp_path))}
    step = drawn["step 1"]
    for name in ("wait_for_rollouts", "learner", "publish", "step", "copy for a checkpoint"):
        inner = drawn[name]
        assert step["ts"] <= inner["ts"]
        assert inner["ts"] + inner["dur"] <= step["ts"] + step["dur"]
    assert drawn["step"]["args"] == {"samples": 4, "weights": 1}
    assert drawn["write a checkpoint"]["cat"] == "checkpoints"


@pytest.mark.parametrize("moment", ["sample 10", "step 3", "publish 2"])
def test_steps_that_a_resumed_run_does_again_are_drawn_once(tmp_path: Path, moment: str):
    scene = Scene(tmp_path, config(checkpoint_every=1))

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    scene.at(moment, kill)
    with pytest.raises(Killed):
        scene.train()
    scene.close()
    assert checkpoints(tmp_path)
    finish(tmp_path, resume=True)
    drawn = picture(tmp_path)
    done = [e["name"] for e in slices(drawn) if e["name"].startswith("step ")]
    assert done == ["step 1", "step 2", "step 3", "step 4"]
    assert samples_in(drawn, "judging") == trained(tmp_path)
    assert overlaps(drawn) == []


def test_a_program_without_a_verdict_is_drawn_as_a_fault(tmp_path: Path):
    scene = Scene(tmp_path, config())

    def fault() -> None:
        raise SandboxFault("the container is gone")

    scene.at("sample 3", fault)
    scene.train()
    scene.close()
    faults = [e for e in slices(picture(tmp_path)) if e["name"] == "sandbox_fault"]
    assert len(faults) == 1
    assert faults[0]["args"]["sample"] not in trained(tmp_path)


def test_only_the_newest_steps_are_drawn_where_that_is_asked(tmp_path: Path):
    finish(tmp_path)
    drawn = picture(tmp_path, "--last", "2")
    done = [e["name"] for e in slices(drawn) if e["name"].startswith("step ")]
    assert done == ["step 3", "step 4"]


def test_a_run_without_rows_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finish(tmp_path, trace=False)
    assert not (tmp_path / "trace.jsonl").exists()
    assert commands.run(["trace", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"stepcoder: {tmp_path}: no rows in trace.jsonl; ")
    assert error.count("\n") == 1
    assert not (tmp_path / "trace.json.gz").exists()


@pytest.mark.parametrize(
    "damaged",
    [
        {"step": 2},
        row(2, spans=[["too", "short"]]),
        row(2, spans=[["a/b", "x", 9, 1, {}]]),
        row(2, spans=[["a/b", "x", "9", 10, {}]]),
        row(2, spans=[["a/b", None, 9, 10, {}]]),
        row(2) | {"origin": None},
        row(2) | {"step": None},
    ],
)
def test_a_damaged_row_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damaged: dict[str, Any]
):
    whole = row(1, spans=[["driver/steps", "step 1", 0, 1, {}]])
    append_rows(tmp_path / "trace.jsonl", [whole, damaged])
    assert commands.run(["trace", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "trace.jsonl" in error
    assert "damaged" in error
    assert not list(tmp_path.glob("*.gz"))


@pytest.mark.parametrize("out", [".", "/"])
def test_a_folder_to_write_to_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
):
    append_rows(tmp_path / "trace.jsonl", [row(1, spans=[["driver/steps", "step 1", 0, 1, {}]])])
    assert commands.run(["trace", str(tmp_path), "--out", out]) == 2
    assert capsys.readouterr().err == f"stepcoder: {out}: is a folder; give a file to --out\n"


def test_a_torn_last_row_of_a_live_run_is_left_out(tmp_path: Path):
    append_rows(tmp_path / "trace.jsonl", [row(1, spans=[["driver/steps", "step 1", 0, 1, {}]])])
    with (tmp_path / "trace.jsonl").open("a") as file:
        file.write('{"step": 2, "ori')
    assert len(slices(picture(tmp_path))) == 1


def test_a_trace_that_cannot_be_written_does_not_end_the_run(tmp_path: Path):
    (tmp_path / "trace.jsonl").mkdir()
    finish(tmp_path)
    assert len(trained(tmp_path)) == 16
