"""The bars of the newest steps, as the page draws them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepcoder_dist.report import timeline as module
from stepcoder_dist.report.timeline import timeline


def row(step: int, begin: int, *spans: list[Any], **lists: Any) -> dict[str, Any]:
    """A row of a step of a second that begins at `begin` (seconds)."""
    own = ["driver/steps", f"step {step}", begin * 10**6, (begin + 1) * 10**6, {}]
    return {
        "step": step,
        "origin": 5.0,
        "spans": [*spans, own],
        "decoded": [],
        "judged": [],
        **lists,
    }


def drawn(folder: Path, *rows: dict[str, Any], torn: str = "") -> dict[str, Any]:
    text = "".join(json.dumps(each) + "\n" for each in rows) + torn
    (folder / "trace.jsonl").write_text(text)
    return timeline(folder)


def bars(found: dict[str, Any], key: str) -> list[list[Any]]:
    return next(each["bars"] for each in found["rows"] if each["key"] == key)


def test_what_a_pool_does_at_once_is_one_bar_with_the_most_at_once(tmp_path: Path):
    decoded = [
        ["a", "rollout-0", 0, 0, 400_000, 7, 3, 3],
        ["b", "rollout-1", 0, 100_000, 500_000, 7, 3, 3],
        ["c", "rollout-0", 0, 700_000, 800_000, 7, 3, 3],
    ]
    judged = [["a", "sandbox-0", 400_000, 450_000, 600_000, "passed"]]
    found = drawn(tmp_path, row(1, 0, decoded=decoded, judged=judged), torn='{"step": 2, "or')
    assert found["steps"] == [[1, 0, 1000]]
    assert bars(found, "rollouts") == [
        [0, 500, "decoding", "decoding", 2],
        [700, 800, "decoding", "decoding", 1],
    ]
    assert bars(found, "sandbox") == [[450, 600, "judging", "judging", 1]]


def test_passes_pushes_pauses_and_waits_are_in_their_rows(tmp_path: Path):
    found = drawn(
        tmp_path,
        row(
            1,
            0,
            ["learner/steps", "step", 0, 300_000, {}],
            ["learner/steps", "snapshot", 300_000, 350_000, {}],
            ["learner/checkpoints", "write a checkpoint", 400_000, 500_000, {}],
            ["weights/pushes", "push", 350_000, 600_000, {}],
            ["rollout-0/pauses", "push 1", 500_000, 520_000, {}],
            ["rollout-1/pauses", "push 1", 510_000, 530_000, {}],
            ["driver/rollouts wait", "for learner", 0, 300_000, {}],
            ["driver/learner waits", "for sandbox", 600_000, 700_000, {}],
            ["driver/phases", "learner", 0, 300_000, {}],
        ),
    )
    assert bars(found, "learner") == [
        [0, 300, "learner", "step", 1],
        [300, 350, "publish", "snapshot", 1],
        [400, 500, "checkpoint", "write a checkpoint", 1],
    ]
    assert bars(found, "weights") == [
        [350, 600, "publish", "push", 1],
        [500, 530, "pause", "an engine pauses", 2],
    ]
    assert bars(found, "rollouts_wait") == [[0, 300, "waiting", "for learner", 1]]
    assert bars(found, "learner_waits") == [[600, 700, "waiting", "for sandbox", 1]]


def test_the_newest_steps_of_the_last_process_are_shown(tmp_path: Path):
    before = [row(step, step) | {"origin": 1.0} for step in range(1, 4)]
    after = [row(step, step) for step in range(3, 40)]
    found = drawn(tmp_path, *before, *after)
    assert [step for step, *_ in found["steps"]] == list(range(16, 40))
    assert found["steps"][0][1:] == [0, 1000]
    short = drawn(tmp_path, *before, *after[:2])
    assert [step for step, *_ in short["steps"]] == [3, 4]


def test_a_long_file_is_read_from_its_end(tmp_path: Path, monkeypatch: Any):
    rows = [row(step, step) for step in range(10)]
    monkeypatch.setattr(module, "MAX_BYTES", 3 * len(json.dumps(rows[0])))
    found = drawn(tmp_path, *rows)
    assert [step for step, *_ in found["steps"]] == [8, 9]


def test_no_trace_and_a_damaged_one_are_no_timeline(tmp_path: Path):
    assert timeline(tmp_path) == {"steps": [], "rows": []}
    assert drawn(tmp_path, torn='nonsense\n{"step": 1}\n')["steps"] == []
    for odd in (
        {"step": None},
        {"origin": "x"},
        {"spans": [["driver/steps", "step 1", 0, "x", {}]]},
    ):
        assert drawn(tmp_path, row(1, 1) | odd)["steps"] == []
