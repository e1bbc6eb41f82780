"""A driver that is too old for the installed CUDA is found on its node, before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray")

import ray

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.launch.cluster.ray_session import ray_session

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("no_local_ray")]


def test_an_old_driver_is_named_with_its_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100, 81920, 8.0, 535.183.01'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    one_gpu = {"num_cpus": 1.0, "num_gpus": 1.0}
    config = RunConfig.model_validate(
        {
            "name": "drivers",
            "dashboard": False,
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "learner": {"resources": one_gpu},
            "actors": {"resources": one_gpu},
        }
    )
    # the GPUs are names: a Ray of the run's own finds none on this machine
    started = ray.init
    monkeypatch.setattr(ray, "init", lambda **options: started(**options, num_gpus=2))
    with pytest.raises(ConfigError, match=r"driver 535\.183\.01 is older than 580"):
        ray_session(config).__enter__()
