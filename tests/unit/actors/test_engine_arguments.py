"""What vLLM is given: the platform and the run file have to go together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")

from actors.engine import check_platform, engine_arguments
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError

CPU = SimpleNamespace(is_cpu=lambda: True)
GPU = SimpleNamespace(is_cpu=lambda: False)


def config(num_gpus: float, **engine_args: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "platform",
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "actors": {"resources": {"num_gpus": num_gpus}, "engine_args": engine_args},
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


def test_engine_arguments_of_the_run_file_win_over_the_defaults() -> None:
    plain = engine_arguments(Path("m"), config(0.0), CPU)
    assert (plain["enforce_eager"], plain["enable_prefix_caching"]) == (True, True)
    changed = config(0.0, enforce_eager=False, kv_cache_dtype="fp8")
    given = engine_arguments(Path("m"), changed, CPU)
    assert (given["enforce_eager"], given["kv_cache_dtype"]) == (False, "fp8")


def test_a_gpu_takes_8192_prompt_tokens_in_a_step_and_chunks_prompts() -> None:
    arguments = engine_arguments(Path("m"), config(1.0), GPU)
    assert arguments["max_num_batched_tokens"] == 8192
    assert "enable_chunked_prefill" not in arguments
    assert "enforce_eager" not in arguments


def test_an_engine_argument_that_vllm_does_not_know_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"engine_args\.enforce_eagr: .*mean enforce_eager\?"):
        engine_arguments(Path("m"), config(0.0, enforce_eagr=True), CPU)


def test_an_engine_argument_that_another_key_decides_is_refused_with_that_key() -> None:
    with pytest.raises(ConfigError, match=r"engine_args\.dtype: .*\(model\.dtype\)"):
        engine_arguments(Path("m"), config(0.0, dtype="float16"), CPU)
