"""The installed vLLM and what the run file reserves have to go together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")

from actors.engine import check_platform
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError

CPU = SimpleNamespace(is_cpu=lambda: True)
GPU = SimpleNamespace(is_cpu=lambda: False)


def config(num_gpus: float) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "platform",
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "actors": {"resources": {"num_gpus": num_gpus}},
        }
    )


def test_a_vllm_for_gpus_is_refused_where_none_is_reserved() -> None:
    with pytest.raises(ConfigError, match=r"num_gpus = 0.*make setup"):
        check_platform(config(0.0), GPU)


def test_a_vllm_for_cpus_is_refused_where_gpus_are_reserved() -> None:
    with pytest.raises(ConfigError, match=r"num_gpus = 1.*make setup GPU=1"):
        check_platform(config(1.0), CPU)


def test_what_goes_together_is_taken() -> None:
    check_platform(config(0.0), CPU)
    check_platform(config(1.0), GPU)
