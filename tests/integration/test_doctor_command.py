"""`stepcoder doctor` on the real machine: every probe for real, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import left_in_shared_memory, shared_memory

pytest.importorskip("vllm")
pytest.importorskip("deepspeed")

from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.doctor import checkup, examination
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.run.reservations import demand
from stepcoder_dist.run.run_file import load

pytestmark = [
    pytest.mark.docker,
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.deepspeed,
]

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def sandbox_image() -> None:
    from sandbox.backend import choose

    try:
        choose(SandboxConfig(backend="docker"))
    except MissingEngine as error:
        pytest.skip(str(error))


def doctor(*arguments: str, code: int, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "stepcoder_dist", "doctor", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=ROOT,
        env=os.environ | {"RAY_ADDRESS": ""} | environment,
    )
    assert (done.returncode, done.stderr) == (code, "")
    return {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_the_demo_works_on_a_machine_that_passes_these_tests() -> None:
    before = shared_memory()
    found = doctor("deploy/runs/demo.toml", "--set", "sandbox.backend=docker", code=0)
    assert {"vLLM", "torch", "DeepSpeed", "Ray", "Docker", "sandbox", "model"} <= found.keys()
    working = {name for name, finding in found.items() if finding["mark"] == "works"}
    assert {"vLLM", "torch", "DeepSpeed", "Ray", "Docker", "sandbox"} <= working
    assert "sees which lines ran" in found["sandbox"]["seen"]
    assert "API 1." in found["Docker"]["seen"]
    assert left_in_shared_memory(before) == set()


def test_an_engine_without_the_image_fails_though_auto_would_go_without_an_engine() -> None:
    image = "sandbox.image=stepcoder-none:latest"
    found = doctor("deploy/runs/demo.toml", "--set", image, code=1)
    assert found["sandbox image"]["mark"] == "fails"
    assert found["sandbox image"]["fix"].startswith("docker pull stepcoder-none:latest, or ")


def test_a_cluster_is_asked_for_its_size_and_held_against_the_run(
    local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del local_ray
    import ray

    address = ray.get_runtime_context().gcs_address
    small = ("--set", "actors.number=1", "--set", "sandbox.number=1")
    asked = demand(load(ROOT / "deploy/runs/demo.toml", small[1::2]))["CPU"]
    found = doctor("deploy/runs/demo.toml", *small, code=0, RAY_ADDRESS=address)
    assert found["Ray"]["seen"].startswith(f"cluster at {address}: 1 nodes, 8 CPU, 0 GPU")
    assert found["Ray's size"]["seen"] == f"the run asks for {asked:g} CPU"

    monkeypatch.setenv("RAY_ADDRESS", address)
    large = load(ROOT / "deploy/runs/demo.toml", ["actors.number=60"])
    (probe,) = [probe for probe in checkup.probes(large, local=False) if probe.subject == "Ray"]
    more = {finding.subject: finding for finding in examination.run_probe(probe)}
    assert "the run asks the Ray cluster for " in more["Ray's size"].seen
    assert "CPU (it has 8)" in more["Ray's size"].seen
    assert not examination.works(more.values())
