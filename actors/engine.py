"""How vLLM is set up for rollouts: one `LLMEngine` in this very process.

In one process there is no engine core process to talk to: a completion is here the moment its
last token is sampled, and weight buckets reach the model without being serialised again. The
environment variables that this needs are set by `rollout_actor.py`, before vllm is imported.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from vllm import __version__ as vllm_version
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.platforms import current_platform
from vllm.v1.engine.llm_engine import LLMEngine

from actors.weight_transfer import TRANSFER_BACKENDS, WORKER_EXTENSION
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError

PREFILL_TOKENS = 8192
"""Prompt tokens of one engine step."""


def check_platform(config: RunConfig, platform: Any = current_platform) -> None:
    """Raise `ConfigError` where the installed vLLM is not for what the run file reserves."""
    gpus = config.actors.resources.num_gpus
    if gpus == 0 and not platform.is_cpu():
        raise ConfigError(
            "actors.resources.num_gpus = 0, and the vLLM that is installed here runs on GPUs only; "
            "reserve GPUs (deploy/runs/one_gpu.toml; make demo GPU=1), or install the CPU set: "
            "make setup"
        )
    if gpus > 0 and platform.is_cpu():
        raise ConfigError(
            f"actors.resources.num_gpus = {gpus:g}, and the vLLM that is installed here is built "
            "for CPUs; install the GPU set: make setup GPU=1"
        )


def make_engine(checkpoint: Path, config: RunConfig) -> LLMEngine:
    """Load the checkpoint into an engine. Must be called by the thread that will step it.

    OpenMP keeps a thread pool for each calling thread: an engine made on one thread and stepped
    on another would run with another number of threads. Raises `ConfigError`, and whatever vLLM
    raises.
    """
    check_platform(config)
    return LLMEngine.from_engine_args(EngineArgs(**engine_arguments(checkpoint, config)))


def engine_arguments(
    checkpoint: Path, config: RunConfig, platform: Any = current_platform
) -> dict[str, Any]:
    """Return the arguments of `EngineArgs`: ours, with `actors.engine_args` over the defaults.

    Raises `ConfigError` for one that this vLLM does not know, or that the run file says elsewhere.
    """
    fixed = _fixed(checkpoint, config, platform)
    given = config.actors.engine_args
    known = {field.name for field in dataclasses.fields(EngineArgs)}
    for name in given:
        if name in fixed:
            raise ConfigError(
                f"actors.engine_args.{name}: set by the run itself"
                f"{_SAID_BY.get(name, '')}; leave it out"
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError(
                f"actors.engine_args.{name}: vLLM {vllm_version} has no such engine argument"
                f"{f'; did you mean {near[0]}?' if near else ''}"
            )
    return {**fixed, **_defaults(config, platform), **given}


_SAID_BY = {
    "dtype": " (model.dtype)",
    "seed": " (seed)",
    "max_model_len": " (model.max_tokens)",
    "max_num_seqs": " (actors.max_batch)",
    "tensor_parallel_size": " (actors.tensor_parallel)",
    "gpu_memory_utilization": " (actors.gpu_memory_share)",
    "kv_cache_memory_bytes": " (actors.kv_cache_gib)",
    "enable_sleep_mode": " (colocate)",
    "weight_transfer_config": " (weights.transport)",
    "async_scheduling": " (weights.on_update)",
}
"""The key of the run file that decides an argument, where there is one."""


def _fixed(checkpoint: Path, config: RunConfig, platform: Any) -> dict[str, Any]:
    """Return the arguments that the loop depends on or another key of the run file decides."""
    arguments: dict[str, Any] = {
        "model": str(checkpoint),
        # Spans and text are made from ids (char_spans.py): vLLM needs no tokenizer.
        "skip_tokenizer_init": True,
        "dtype": config.model.dtype,
        "seed": config.seed,
        "max_model_len": config.model.max_tokens,
        "max_num_seqs": config.actors.max_batch,
        "tensor_parallel_size": config.actors.tensor_parallel,
        "distributed_executor_backend": "uni" if config.actors.tensor_parallel == 1 else "mp",
        # The default reports log-probs before temperature and nucleus, not those sampled from.
        "logprobs_mode": "processed_logprobs",
        "worker_extension_cls": WORKER_EXTENSION,
        "weight_transfer_config": WeightTransferConfig(
            backend=TRANSFER_BACKENDS[config.weights.transport]
        ),
    }
    if config.weights.on_update == "continue":
        # A step that is under way when the weights change would be reported under the new version.
        arguments["async_scheduling"] = False
    if platform.is_cpu():
        arguments["kv_cache_memory_bytes"] = int(config.actors.kv_cache_gib * 2**30)
        # A seeded request whose prompt is cut into chunks rewinds its generator, which CPU
        # generators cannot ("CPU Generator does not use offset"): prompts are not cut.
        arguments["enable_chunked_prefill"] = False
    else:
        arguments["gpu_memory_utilization"] = config.actors.gpu_memory_share
        # Weights and cache then live in memory that `sleep` gives back to the other processes.
        arguments["enable_sleep_mode"] = config.colocate
    return arguments


def _defaults(config: RunConfig, platform: Any) -> dict[str, Any]:
    """Return the arguments that `actors.engine_args` may change."""
    arguments: dict[str, Any] = {
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # vLLM's own default for an engine like this one is 2,048: thousands of prompts a step
        # would take four times as many passes
        "max_num_batched_tokens": max(PREFILL_TOKENS, config.model.max_tokens),
    }
    if platform.is_cpu():
        # Compiling costs minutes at every start and gains nothing on models that fit a CPU.
        arguments["enforce_eager"] = True
    return arguments
