"""What an actor's process sets before vLLM and torch are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from actors.rollout_actor import environment
from stepcoder_dist.config import RunConfig

THREADS_OF_TORCH = "import torch; print(torch.get_num_threads())"


def config(**actors: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "environment",
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "actors": actors,
        }
    )


def test_an_engine_computes_with_the_threads_of_the_run_file_whatever_ray_reserved():
    pytest.importorskip("torch")
    by_ray = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS_OF_TORCH],
        env=by_ray | environment(config(threads=2, resources={"num_cpus": 0.5})),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout == "2\n"


def test_without_the_key_the_threads_are_left_to_ray():
    found = environment(config(resources={"num_cpus": 4}))
    assert not found.keys() & {"OMP_NUM_THREADS", "GOMP_SPINCOUNT"}


def test_a_users_own_setting_goes_first_but_for_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = environment(config(threads=3))
    assert (found["VLLM_LOGGING_LEVEL"], found["OMP_NUM_THREADS"]) == ("INFO", "3")
