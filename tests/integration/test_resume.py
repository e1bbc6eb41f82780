"""Runs that are interrupted by signals and resumed, with every real component.

Two interruptions, wherever they land, must leave no trace: the run that was interrupted twice
equals the one that never was, bit for bit.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import (
    EASY,
    finish,
    left_in_shared_memory,
    processes_of_session,
    read_until,
    shared_memory,
    stepcoder,
)
from filelock import FileLock

from stepcoder_dist.loop.metrics import WALL_CLOCK
from stepcoder_dist.run import ledger_report

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(600),
]

STEPS = 6
FEW = f"ladder:train?conditionals=2&count=4&{EASY}"


class Place:
    """A folder with its own temporary folder, so that what a command leaves there is seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir()

    def start(self, *arguments: str, **changes: object):
        settings: Mapping[str, object] = {
            "model.sft_path": self.folder / "sft",
            "sandbox.backend": "process",
            "train.steps": STEPS,
            # four programs learned by heart: they pass, and their stages move, within six steps
            "problems.sft": FEW,
            "problems.train": FEW,
            "sft.phases": "[{ steps = 120, learning_rate = 4e-3, warmup_steps = 10 }]",
            "curriculum.alpha": 0.5,
            "curriculum.threshold": 0.7,
        }
        names = {key.replace("__", "."): value for key, value in changes.items()}
        # Ray's sockets would get too long a path: it keeps its own folder
        environment = {"TMPDIR": str(self.temporary), "RAY_TMPDIR": "/tmp"}
        return stepcoder(*arguments, changes={**settings, **names}, environment=environment)

    def left(self) -> list[str]:
        """What lies in the temporary folder, but for torch's cache of kernels."""
        names = {path.name for path in self.temporary.iterdir()}
        return sorted(name for name in names if not name.startswith("torchinductor_"))


def with_warm_start(tmp_path_factory: pytest.TempPathFactory, name: str) -> Place:
    """Make a place with an SFT checkpoint of a model of two layers.

    The checkpoint is made once for all files of a test run, in whichever worker comes first.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(shared / "warm-start.lock"):
        once = shared / "warm-start"
        if not (once / "sft").exists():
            once.mkdir()
            finish(Place(once).start("sft"))
    made = Place(tmp_path_factory.mktemp(name))
    shutil.copytree(once / "sft", made.folder / "sft")
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return with_warm_start(tmp_path_factory, "resume")


@pytest.fixture(scope="module")
def whole(place: Place) -> Path:
    """Six steps in one go."""
    finish(place.start("train", run_dir=place.folder / "whole"))
    return place.folder / "whole"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_clocks(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in WALL_CLOCK}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a learner's checkpoint by its place: weights, Adam's moments, counters."""
    found: dict[str, torch.Tensor] = {}

    def walk(node: Any, where: str) -> None:
        if isinstance(node, torch.Tensor):
            found[where] = node
        elif isinstance(node, Mapping):
            for key, value in node.items():
                walk(value, f"{where}/{key}")
        elif isinstance(node, (list, tuple)):
            for number, value in enumerate(node):
                walk(value, f"{where}/{number}")
        elif isinstance(node, float):
            found[where] = torch.tensor(node, dtype=torch.float64)

    for file in sorted(folder.rglob("*.pt")):
        walk(torch.load(file, weights_only=False), str(file.relative_to(folder)))
    return found


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def interrupt(place: Place, run: Path, after: str, by: signal.Signals, *resume: str) -> int:
    """Start, send a signal after a line of output; return the step of the checkpoint it left."""
    before = shared_memory()
    process = place.start("train", *resume, run_dir=run)
    read_until(process, lambda line: line.startswith(after))
    if by is signal.SIGINT:
        os.killpg(process.pid, by)  # a terminal sends it to every process of its group
    else:
        os.kill(process.pid, by)
    output = finish(process, 128 + by)
    assert f"{by.name}: stopping with a checkpoint" in output
    assert f"stepcoder: stopped by {by.name}; checkpoint of step" in output
    assert processes_of_session(process.pid) == []
    assert left_in_shared_memory(before) == set()
    assert place.left() == []
    assert not list(run.rglob(".step_*"))
    last = checkpoints(run)[-1]
    steps = [row["step"] for row in rows(run / "metrics.jsonl")]
    assert steps == list(range(1, int(last.removeprefix("step_")) + 1))
    return steps[-1]


def test_six_steps_with_two_interruptions_equal_six_in_one_go_bit_for_bit(
    place: Place, whole: Path
):
    run = place.folder / "parts"
    first = interrupt(place, run, f"RL: 1/{STEPS}", signal.SIGINT)
    assert 1 <= first < STEPS - 1
    second = interrupt(place, run, f"RL: 2/{STEPS - first}", signal.SIGTERM, "--resume")
    assert first < second < STEPS
    finish(place.start("train", "--resume", run_dir=run))

    names = ("whole", "parts")
    a, b = (rows(place.folder / name / "metrics.jsonl") for name in names)
    assert [without_clocks(row) for row in a] == [without_clocks(row) for row in b]
    assert any(row["policy_loss"] != 0 and row["kl_reference"] != 0 for row in a)
    assert {row["mean_stage"] for row in a} >= {1.0, 0.0}
    assert (whole / "samples.jsonl").read_text() == (run / "samples.jsonl").read_text()

    assert ledger_report.report(whole).balances
    account = ledger_report.report(run)
    assert account.balances, account.lines
    assert account.lines[0] == f"run parts: {STEPS} steps, 2 resumptions"

    last = f"checkpoints/step_{STEPS:06d}"
    a, b = (tensors(place.folder / name / last / "learner") for name in names)
    assert a.keys() == b.keys()
    assert any("exp_avg_sq" in name for name in a)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    a, b = (json.loads((place.folder / n / last / "run.json").read_text()) for n in names)
    del a["config"]["run_dir"], b["config"]["run_dir"]
    assert a == b


@pytest.mark.parametrize(
    ("command", "line"), [("sft", "SFT: 24/"), ("train", "RL: 0/"), ("eval", "evaluation: 0/")]
)
def test_a_command_that_is_stopped_leaves_nothing_behind(place: Place, command: str, line: str):
    out = place.folder / "stopped"
    before = shared_memory()
    changes = {"model__sft_path": out} if command == "sft" else {"run_dir": out}
    process = place.start(command, **changes)
    read_until(process, lambda seen: seen.startswith(line))
    os.kill(process.pid, signal.SIGTERM)
    output = finish(process, 128 + signal.SIGTERM)
    assert "stepcoder: stopped by SIGTERM" in output
    assert processes_of_session(process.pid) == []
    assert left_in_shared_memory(before) == set()
    assert place.left() == []
    assert [path for path in place.folder.rglob(".*") if path.is_dir()] == [], "a draft is left"
    assert not (out / "config.json").exists(), "a model appears whole or not at all"
    if command == "sft":  # but for what `--resume` goes on from
        (kept,) = (place.folder / "stopped.unfinished/checkpoints").iterdir()
        assert f"checkpoint of update {int(kept.name.removeprefix('step_'))} of 120" in output
