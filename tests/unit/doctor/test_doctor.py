"""`stepcoder doctor` where things are broken: a line each, a fix, and never a traceback."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from stepcoder_dist.cli.commands import run
from stepcoder_dist.doctor import checkup, gpu_probes, machine_probes, run_needs
from stepcoder_dist.doctor.examination import (
    Finding,
    Mark,
    Probe,
    as_json,
    examine,
    run_probe,
    works,
)
from stepcoder_dist.doctor.gpu_probes import Card
from stepcoder_dist.run.run_file import load

RUNS = Path(__file__).parents[3] / "deploy" / "runs"
GIB = 2**30


@pytest.fixture(autouse=True)
def children_find_the_broken_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [str(Path(__file__).parent), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def probe(function: str, *, timeout_s: float = 60, **arguments: object) -> list[Finding]:
    return run_probe(
        Probe(
            subject="it",
            module="broken_probes",
            calls={function: arguments},
            timeout_s=timeout_s,
            fix="make setup",
        )
    )


def test_findings_come_through_whatever_a_library_prints() -> None:
    assert probe("works") == [Finding("works", Mark.WORKS, "seen")]


@pytest.mark.parametrize(
    ("function", "arguments", "seen"),
    [
        (
            "missing_package",
            {},
            "ModuleNotFoundError: No module named 'a_package_that_nobody_has'",
        ),
        ("segmentation_fault", {}, "its process was ended by SIGSEGV"),
        ("leaves_with", {"code": 3}, "its process ended with code 3 and without an answer"),
        ("raises_a_page", {}, "RuntimeError: the first line says it"),
    ],
)
def test_what_breaks_its_process_is_one_line_with_a_fix(
    function: str, arguments: dict[str, object], seen: str
) -> None:
    assert probe(function, **arguments) == [Finding("it", Mark.FAILS, seen, "make setup")]


def test_what_hangs_is_ended_after_its_time() -> None:
    (finding,) = probe("hangs", timeout_s=0.5)
    assert (finding.mark, finding.seen) == (Mark.FAILS, "no answer within 0.5 s")


def test_a_broken_function_leaves_its_neighbours_findings() -> None:
    found = run_probe(
        Probe(
            subject="it",
            module="broken_probes",
            calls={"missing_package": {}, "works": {}},
        )
    )
    assert [finding.mark for finding in found] == [Mark.FAILS, Mark.WORKS]


def test_findings_keep_the_order_of_their_probes() -> None:
    names = ["segmentation_fault", "works", "missing_package"]
    probes = [Probe(subject=n, module="broken_probes", calls={n: {}}) for n in names]
    assert [finding.subject for finding in examine(probes)] == names


def test_a_line_shows_sign_subject_what_was_seen_and_the_mend_below() -> None:
    line = str(Finding("Docker", Mark.FAILS, "no engine answers", "apt-get install docker.io"))
    assert line.splitlines() == [
        "✗ Docker           no engine answers",
        "                   → apt-get install docker.io",
    ]


def test_for_machines_there_is_one_object() -> None:
    found = [Finding("a", Mark.WORKS, "x"), Finding("b", Mark.CAUTION, "y", "z")]
    assert json.loads(as_json(found, "run.toml")) == {
        "run_file": "run.toml",
        "works": True,
        "findings": [
            {"subject": "a", "mark": "works", "seen": "x", "fix": ""},
            {"subject": "b", "mark": "caution", "seen": "y", "fix": "z"},
        ],
    }
    assert not works([*found, Finding("c", Mark.FAILS, "w")])


# ---- the machine ----


def test_little_shared_memory_is_a_caution_with_a_larger_mount(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")(64 * 2**20, 0, 64 * 2**20)  # noqa: PYI024
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    (finding,) = machine_probes.shared_memory(needed=2 * GIB)
    assert finding.mark is Mark.CAUTION
    assert finding.seen.startswith("0.1 GiB free at /dev/shm; Ray and a push need 2.0 GiB")
    assert "size=4G /dev/shm" in finding.fix


def test_a_push_through_the_object_store_needs_shared_memory_for_the_policy() -> None:
    through_store = load(RUNS / "cluster.toml", ["weights.transport=object_store"])
    # in bfloat16: what the actors hold, and what is on its way to them
    assert run_needs.shared_bytes(through_store) == 2 * 2 * 6_740_512_768
    lagging = load(
        RUNS / "cluster.toml",
        ["weights.transport=object_store", "deterministic=true", "train.max_staleness=3"],
    )
    assert run_needs.shared_bytes(lagging) == 4 * 2 * 6_740_512_768
    assert run_needs.shared_bytes(load(RUNS / "cluster.toml")) == 2 * 512 * 2**20


def test_a_package_of_another_version_is_told_with_the_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_probes.metadata, "version", lambda _: "0.26.0")
    monkeypatch.setattr(
        machine_probes.metadata, "requires", lambda _: ["vllm==0.32.0; extra == 'actors'"]
    )
    found = {finding.subject: finding for finding in machine_probes.packages()}
    assert found["vllm"].mark is Mark.FAILS
    assert found["vllm"].seen == "0.26.0, and the project needs ==0.32.0"


def test_a_package_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise machine_probes.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine_probes.metadata, "version", version)
    assert {finding.seen for finding in machine_probes.packages()} == {"not installed"}


def test_less_memory_than_the_estimate_fails_and_less_free_memory_is_a_caution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_probes, "machine_memory", lambda: (8 * GIB, 4 * GIB))
    assert [machine_probes.memory(needed=gib * GIB)[0].mark for gib in (2, 6, 10)] == [
        Mark.WORKS,
        Mark.CAUTION,
        Mark.FAILS,
    ]


def test_a_full_disk_fails_where_the_checkpoints_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")(100 * GIB, 60 * GIB, 40 * GIB)  # noqa: PYI024
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    first, second = machine_probes.disk({str(tmp_path / "new"): 50.0 * GIB, str(tmp_path): 0})
    assert (first.mark, second.mark) == (Mark.FAILS, Mark.WORKS)
    assert "needs 50.0 GiB" in first.seen


@pytest.mark.parametrize(
    ("cards", "local", "marks"),
    [
        ([], True, [Mark.FAILS]),
        ([], False, [Mark.WORKS]),
        ([("H100", 81_559, "9.0", "580.1")], True, [Mark.WORKS, Mark.WORKS]),
        ([("H100", 81_559, "9.0", "570.124.06")], True, [Mark.FAILS]),
        # two things do not fit 16 GiB: a step, and rollouts next to what the learner keeps
        ([("Small", 16_384, "8.6", "580.1")], True, [Mark.WORKS, Mark.FAILS, Mark.FAILS]),
    ],
)
def test_gpus_are_held_against_what_the_run_needs(
    monkeypatch: pytest.MonkeyPatch,
    cards: list[tuple[str, int, str, str]],
    *,
    local: bool,
    marks: list[Mark],
) -> None:
    monkeypatch.setattr(gpu_probes, "cards", lambda: [Card(*card) for card in cards])
    tree = load(RUNS / "one_gpu.toml").model_dump(mode="json", exclude_none=True)
    assert [finding.mark for finding in gpu_probes.gpus(tree, local=local)] == marks


def test_fewer_gpus_than_the_pools_reserve_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [("H100", 81_559, "9.0", "580.1")] * 8
    monkeypatch.setattr(gpu_probes, "cards", lambda: [Card(*card) for card in cards])
    tree = load(RUNS / "cluster.toml").model_dump(mode="json", exclude_none=True)
    (finding,) = gpu_probes.gpus(tree, local=True)
    assert finding.mark is Mark.FAILS
    assert "the run asks for 16" in finding.seen


def test_nvidias_tool_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 9.0, 580.65.06'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpu_probes.cards() == [Card("NVIDIA H100 80GB HBM3", 81559, "9.0", "580.65.06")]


# ---- the sandbox ----


def docker_probe(image: str, *, backend: str) -> list[Finding]:
    pytest.importorskip("docker")
    tree = load(RUNS / "demo.toml", [f"sandbox.backend={backend}", f"sandbox.image={image}"])
    probes = {each.subject: each for each in checkup.probes(tree, local=True)}
    return run_probe(probes["Docker"])


@pytest.mark.parametrize(("backend", "mark"), [("docker", Mark.FAILS), ("auto", Mark.CAUTION)])
def test_an_engine_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str, mark: Mark
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    (finding,) = docker_probe("stepcoder-sandbox:latest", backend=backend)
    assert (finding.mark, finding.subject) == (mark, "Docker")
    assert finding.seen.startswith("no Docker engine answers (")
    assert finding.fix.startswith("start one")


# ---- the run file ----


def test_absent_problems_fail_and_a_missing_sft_checkpoint_is_a_caution(tmp_path: Path) -> None:
    settings = [f"problems.train={tmp_path}/none.jsonl", f"model.sft_path={tmp_path}/sft"]
    found = {f.subject: f for f in run_needs.findings(load(RUNS / "demo.toml", settings), RUNS)}
    assert found["problems.train"].mark is Mark.FAILS
    assert found["problems.heldout"].mark is Mark.WORKS
    assert (found["model"].mark, found["model"].fix) == (Mark.CAUTION, f"stepcoder sft {RUNS}")


def test_a_model_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    config = load(RUNS / "one_gpu.toml", [f"model.path={tmp_path}/none"])
    model = run_needs.findings(config, RUNS)[-1]
    assert (model.subject, model.mark) == ("model", Mark.FAILS)
    assert "no model there (no such folder)" in model.seen


def test_a_broken_problem_file_fails_with_its_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"problem_id": 1\n')
    config = load(RUNS / "demo.toml", [f"problems.train={broken}"])
    assert f"{broken}:1" in run_needs.findings(config, RUNS)[0].seen


def fake_findings(monkeypatch: pytest.MonkeyPatch, *marks: Mark) -> None:
    found = [Finding(f"thing {i}", mark, "seen") for i, mark in enumerate(marks)]
    monkeypatch.setattr(checkup, "findings", lambda *_: iter(found))


def test_the_exit_code_is_1_where_the_chosen_run_file_cannot_work_and_else_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = str(RUNS / "demo.toml")
    fake_findings(monkeypatch, Mark.WORKS, Mark.CAUTION)
    assert run(["doctor", chosen]) == 0
    assert capsys.readouterr().out.endswith("demo.toml can work here\n")
    fake_findings(monkeypatch, Mark.WORKS, Mark.FAILS)
    assert run(["doctor", chosen]) == 1
    assert capsys.readouterr().out.endswith("demo.toml cannot work here: thing 1\n")
    assert run(["doctor"]) == 0
    assert run(["doctor", chosen, "--json"]) == 1
    assert run(["doctor", "none.toml"]) == 2


@pytest.mark.parametrize("run_file", sorted(path.name for path in RUNS.glob("[!a]*.toml")))
def test_every_probe_names_functions_that_exist_and_take_its_arguments(run_file: str) -> None:
    for each in checkup.probes(load(RUNS / run_file), local=True):
        module = importlib.import_module(each.module)
        for name, arguments in each.calls.items():
            inspect.signature(getattr(module, name)).bind(**arguments)
