"""`stepcoder demo` with every real component: Ray, vLLM, DeepSpeed, Docker, a tiny model."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import DEMO, SMALL, left_in_shared_memory, processes_of_session, sets, shared_memory

from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine

pytestmark = [
    pytest.mark.docker,
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(600),
]

SETTINGS = SMALL | {
    "train.steps": 3,
    "train.checkpoint_every": 3,
    "sandbox.backend": "docker",
    "evaluation.every": 2,
    "evaluation.during": 4,
    "problems.heldout_weak": f"{SMALL['problems.heldout']}&tests=6&thorough=0&slips=0.5",
    "train.keep_checkpoints": 1,
    "train.save_hf_every": 3,
}


def stepcoder(*arguments: str, folder: Path, **changes: object) -> subprocess.Popen[str]:
    settings = SETTINGS | {"run_dir": folder / "run", "model.sft_path": folder / "sft"} | changes
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "stepcoder_dist",
            arguments[0],
            str(DEMO),
            *arguments[1:],
            *sets(settings),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"RAY_ADDRESS": ""},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output[-4000:]
    return output


def orphans() -> list[str]:
    """Sandbox containers whose owner has ended: what a run of somebody else's has is not ours."""
    import docker

    from sandbox.containers.orphans import OWNER_LABEL, RUN_LABEL

    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
        owners = {c.short_id: c.labels.get(OWNER_LABEL, "::") for c in found}
    finally:
        client.close()
    return [name for name, o in owners.items() if not Path("/proc", o.split(":")[-2]).exists()]


@pytest.fixture(scope="module")
def sandbox_image() -> None:
    from sandbox.backend import choose

    try:
        choose(SandboxConfig(backend="docker"))
    except MissingEngine as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def demo(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder and the output of one small demo that ran to its end and left nothing."""
    request.getfixturevalue("sandbox_image")
    folder = tmp_path_factory.mktemp("demo")
    before = shared_memory()
    process = stepcoder("demo", folder=folder)
    output = finish(process)
    assert (left_in_shared_memory(before), orphans()) == (set(), [])
    assert processes_of_session(process.pid) == []
    return folder, output


def test_it_prints_each_phase_a_table_by_level_and_the_run_directory(demo: tuple[Path, str]):
    folder, output = demo
    for phase in ("✓ SFT", "✓ eval SFT", "✓ RL", "✓ eval RL"):
        assert phase in output
    assert "introductory" in output
    assert "pass@1" in output
    assert re.search(r"^RL over SFT: [+-]\d+\.\d points .* over 8 problems", output, re.MULTILINE)
    assert f"run directory: {folder / 'run'}" in output


def test_a_demo_that_is_done_does_nothing_again(demo: tuple[Path, str]):
    folder, output = demo
    again = finish(stepcoder("demo", "--resume", folder=folder))
    for made in ("SFT", "eval SFT", "eval RL"):
        assert re.search(rf"^{made}: .*, made before", again, re.MULTILINE)
    assert "✓" not in again
    assert output[output.index("RL over SFT") :] == again[again.index("RL over SFT") :]


def test_three_steps_with_two_actors_and_two_executors_train_every_sample(
    demo: tuple[Path, str],
):
    folder, _ = demo
    steps = [json.loads(row) for row in (folder / "run/metrics.jsonl").read_text().splitlines()]
    samples = [json.loads(row) for row in (folder / "run/samples.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert steps[-1]["samples/trained"] == 48
    assert steps[-1]["samples/infrastructure_error"] == 0
    assert len({sample["sample_id"] for sample in samples}) == 48
    assert [sample["weights"] for sample in samples] == [
        [i, i] for i in range(3) for _ in range(16)
    ]


def test_the_trace_has_every_trained_sample_on_an_actor_and_on_an_executor_once(
    demo: tuple[Path, str],
):
    from stepcoder_dist.run.tracing import trace_picture

    folder, _ = demo
    written = trace_picture.write(folder / "run")
    drawn = json.loads(gzip.decompress(written.path.read_bytes()))["traceEvents"]
    process = {e["pid"]: e["args"]["name"] for e in drawn if e["name"] == "process_name"}
    samples = [json.loads(row) for row in (folder / "run/samples.jsonl").read_text().splitlines()]
    ids = sorted(sample["sample_id"] for sample in samples)
    for category, where in (
        ("decoding", {"rollout-0", "rollout-1"}),
        ("judging", {"sandbox-0", "sandbox-1"}),
    ):
        events = [event for event in drawn if event.get("cat") == category]
        assert sorted(event["args"]["sample"] for event in events) == ids
        assert {process[event["pid"]] for event in events} == where
        assert all(event["dur"] > 0 for event in events)
    pauses = [(process[e["pid"]], e["name"]) for e in drawn if e.get("cat") == "pauses"]
    assert sorted(pauses) == [(f"rollout-{i}", f"push {n}") for i in (0, 1) for n in range(4)]
    lasting = {e["name"]: e["dur"] for e in drawn if e["ph"] == "X"}
    assert lasting["step"] <= lasting["learner"] <= lasting["step 3"]


def test_held_out_problems_were_asked_at_the_start_on_the_way_and_at_the_end(
    demo: tuple[Path, str],
):
    folder, output = demo
    scores = [json.loads(row) for row in (folder / "run/heldout.jsonl").read_text().splitlines()]
    assert [score["step"] for score in scores] == [0, 2, 3]
    assert [score["samples"] - score["faults"] for score in scores] == [4, 4, 4]
    assert "held-out pass@1 of step 3: " in output
    assert scores[0]["weak"]["growth"] == 0.0
    assert all(score["weak"]["pass_at_1"] >= score["pass_at_1"] for score in scores)


def test_the_policy_of_every_third_step_is_a_folder_of_its_own(demo: tuple[Path, str]):
    folder, _ = demo
    assert [path.name for path in (folder / "run/hf").iterdir()] == ["step_000003"]
    files = {path.name for path in (folder / "run/hf/step_000003").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files


def test_the_learner_sees_the_log_probs_that_vllm_sampled_with(demo: tuple[Path, str]):
    folder, _ = demo
    steps = [json.loads(row) for row in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert all(step["logprob_mismatch"] < 0.02 for step in steps)
    # after an update too: the actors sample with the weights that were pushed to them
    assert steps[-1]["kl_reference"] != 0


def test_the_report_was_written_at_the_end_and_agrees_with_the_files(demo: tuple[Path, str]):
    folder, output = demo
    assert f"report: {folder / 'run/report.html'}" in output
    page = (folder / "run/report.html").read_text()
    block = page.partition('<script type="application/json" id="data">')[2]
    data = json.loads(block.partition("</script>")[0])
    steps = [json.loads(row) for row in (folder / "run/metrics.jsonl").read_text().splitlines()]
    samples = [json.loads(row) for row in (folder / "run/samples.jsonl").read_text().splitlines()]
    assert data["steps"] == [0, *(step["step"] for step in steps)]
    rewards = data["columns"]["reward"]
    assert rewards[0] is None
    assert rewards[1:] == pytest.approx([s["reward"] for s in steps], rel=1e-4)
    scores = data["columns"]["heldout/pass_at_1"]
    assert [score is None for score in scores] == [False, True, False, False]
    assert data["run"]["trained"] == len(samples)
    whole = {sample["sample_id"] for sample in samples if "source" in sample}
    assert data["recorded"] == len(whole) > 0
    assert {sample["id"] for sample in data["samples"]} == whole


def test_the_same_checkpoint_evaluated_again_scores_the_same(demo: tuple[Path, str]):
    folder, _ = demo
    out = folder / "again.jsonl"
    output = finish(stepcoder("eval", "--out", str(out), folder=folder))
    assert f"samples: {out}" in output
    assert out.read_text() == (folder / "run/eval/sft.jsonl").read_text()
    told = json.loads((folder / "again.scores.json").read_text())
    assert [level["level"] for level in told["levels"]] == ["introductory", "all"]
    assert told["settings"]["prompt"]["template"] == "{statement}"


def test_a_run_that_is_done_goes_on_where_more_steps_are_asked_for_and_leaves_nothing(
    demo: tuple[Path, str],
):
    folder, _ = demo
    before = shared_memory()
    # with smaller pools: their sizes may change
    changes = {"train.steps": 5, "actors.number": 1, "sandbox.number": 1}
    process = stepcoder("train", "--resume", folder=folder, **changes)
    output = finish(process)
    assert "✓ RL" in output
    steps = [json.loads(row) for row in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5]
    scores = [json.loads(row) for row in (folder / "run/heldout.jsonl").read_text().splitlines()]
    assert [score["step"] for score in scores] == [0, 2, 3, 4, 5]
    # one is kept, and that of step 3 where it is better
    kept = sorted(path.name for path in (folder / "run/checkpoints").iterdir())
    better = ["step_000003"] * (scores[2]["pass_at_1"] > scores[4]["pass_at_1"])
    assert kept == [*better, "step_000005"]
    assert (left_in_shared_memory(before), orphans()) == (set(), [])
    assert processes_of_session(process.pid) == []
