"""A driver that has Ray alone, without an engine, trains on a cluster whose nodes have the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import DEMO, SMALL, finish, sets
from ray_head import Head

from sandbox.backend import choose
from stepcoder_dist.config import SandboxConfig

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
    pytest.mark.timeout(600),
]

LIGHT_DRIVER = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError("the driver has no " + name, name=name)

sys.meta_path.insert(0, Refuse())
from stepcoder_dist.__main__ import main
main()
""".format(heavy=("torch", "transformers", "vllm", "deepspeed", "docker", "safetensors"))


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    head = Head()
    try:
        yield head
    finally:
        head.close()


def train(head: Head, folder: Path, **changes: object) -> subprocess.Popen[str]:
    """`stepcoder train` of a tiny model that is warmed up first."""
    few = {"actors.number": 1, "train.steps": 2}
    settings = SMALL | few | {"model.sft_path": "", "run_dir": folder / "run"}
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return subprocess.Popen(
        [sys.executable, "-c", LIGHT_DRIVER, "train", str(DEMO), *sets(settings | named)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=head.environment
        | {"RAY_ADDRESS": head.cluster, "DOCKER_HOST": "unix:///nowhere/docker.sock"},
    )


def test_a_driver_without_torch_and_without_an_engine_warms_up_and_trains(
    head: Head, tmp_path: Path
):
    output = finish(train(head, tmp_path))
    judged_in = {"docker": "sandbox: Docker containers of", "process": "NO security boundary"}
    assert judged_in[choose(SandboxConfig(backend="auto"))] in output
    assert output.index("sandbox") < output.index("✓ SFT") < output.index("✓ RL")
    steps = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2]
    assert steps[-1]["samples/trained"] == 32
    assert steps[-1]["samples/infrastructure_error"] == 0
    (made,) = tmp_path.glob("runs/*/stepcoder.json")
    assert json.loads(made.read_text())["versions"].keys() == {"torch", "transformers", "deepspeed"}


def test_a_node_that_cannot_judge_ends_the_command_in_one_line_before_anything_loads(
    head: Head, tmp_path: Path
):
    changes = {"sandbox__backend": "docker", "sandbox__image": "stepcoder-none:none"}
    output = finish(train(head, tmp_path, **changes), code=2)
    (line,) = [line for line in output.splitlines() if line.startswith("stepcoder: ")]
    assert re.match(r"stepcoder: node [\d.]+: \S", line)
    assert output.splitlines()[-1] == line
    assert "SFT" not in output
