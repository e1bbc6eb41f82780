"""Whether a run's processes fit the memory of its machines, by the estimates of `gpu_memory.py`."""

from __future__ import annotations

from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import model_shape
from stepcoder_dist.doctor.gpu_memory import (
    ASLEEP_BYTES,
    CONTEXT_BYTES,
    GIB,
    actor_memory,
    gib,
    rank_memory,
    zero_stage,
)
from stepcoder_dist.doctor.push_memory import push_memory

PROCESS_BYTES = int(0.9 * GIB)
"""Assumed: a process that has loaded torch with vLLM or DeepSpeed."""
ASLEEP_HOST_BYTES = 3 * GIB
"""Assumed, at most: what a sleeping vLLM copies to pinned host memory: its runtime and its CUDA
graphs, not its weights (`vllm/device_allocator/sleep_mode_backend.py`)."""
RAY_BYTES = int(1.4 * GIB)
"""Assumed: Ray's head, object store and the driver."""


def host_bytes(config: RunConfig, shape: ModelShape) -> int:
    """Return an upper bound of the host memory of all processes of a run on one machine.

    A process on a GPU holds on the host what it loads, once, and the optimiser states that are
    there; an engine that sleeps, its graphs too. At stage 3 a rank loads a layer at a time.
    """
    rank, actor = rank_memory(config, shape), actor_memory(config, shape)
    loaded = model_shape.bytes_each(config) * model_shape.parameters(shape)
    sharded = zero_stage(config) == 3  # noqa: PLR2004 (ZeRO's)
    loading = model_shape.bytes_each(config) * _largest_part(shape) if sharded else loaded
    learning = loading + rank.host_optimizer + rank.away
    if not config.learner.resources.num_gpus:
        learning = rank.peak
    sampling = loaded
    if not config.actors.resources.num_gpus:
        sampling = actor.weights + int(config.actors.kv_cache_gib * GIB)
    elif config.colocate:
        sampling = loaded + ASLEEP_HOST_BYTES
    sandbox = config.sandbox
    containers = sandbox.number * sandbox.containers * sandbox.memory_limit_mib * 2**20
    return (
        config.learner.ranks * (learning + PROCESS_BYTES)
        + config.actors.number * (sampling + PROCESS_BYTES)
        + containers
        + RAY_BYTES
    )


def _largest_part(shape: ModelShape) -> int:
    """Return the parameters of the embedding or of a layer, whichever has more."""
    embedding = shape.vocabulary * shape.hidden_size
    layers = model_shape.backbone_parameters(shape) - embedding - shape.hidden_size
    return max(embedding, layers // shape.layers)


def complaints(config: RunConfig, shape: ModelShape, gpu_gib: float) -> list[str]:
    """Return a sentence for each thing that does not fit GPUs of `gpu_gib`, with what to change."""
    gpu, actor, rank = gpu_gib * GIB, actor_memory(config, shape), rank_memory(config, shape)
    share = config.actors.gpu_memory_share * gpu
    push = push_memory(config, shape)
    stepping, rolling_out = rank.peak + CONTEXT_BYTES, share + CONTEXT_BYTES
    sending, receiving = rank.stays + push.sender + CONTEXT_BYTES, rolling_out + push.receiver
    if config.colocate:
        stepping += ASLEEP_BYTES
        # an engine's cache awakes when the last bucket arrives
        rolling_out += rank.stays + push.sender + CONTEXT_BYTES
    found = []
    if config.actors.resources.num_gpus and actor.smallest > share:
        found.append(
            f"actors.gpu_memory_share = {config.actors.gpu_memory_share:g} is {gib(share)}, and an "
            f"engine needs {gib(actor.smallest)} for one sequence; raise it or tensor_parallel"
        )
    if config.learner.resources.num_gpus and stepping > gpu:
        found.append(
            f"a step of the learner needs {gib(stepping)} of {gib(gpu)}; lower "
            "learner.microbatch_tokens, set gradient_checkpointing, a higher zero_stage with more "
            "ranks, or offload_optimizer"
        )
    if config.actors.resources.num_gpus and rolling_out > gpu:
        beside = " next to what the learner keeps" if config.colocate else ""
        or_move = (
            " or set learner.offload_while_sampling" if config.colocate and not rank.away else ""
        )
        found.append(
            f"rollouts need {gib(rolling_out)} of {gib(gpu)}{beside}; lower actors.gpu_memory_share"
            f"{or_move}"
        )
    if push.sender and sending > gpu:
        found.append(
            f"rank 0 needs {gib(sending)} of {gib(gpu)} while it pushes weights; lower "
            "weights.bucket_mib"
        )
    if push.receiver and rolling_out <= gpu < receiving:
        found.append(
            f"an engine needs {gib(receiving)} of {gib(gpu)} while it takes new weights; lower "
            "weights.bucket_mib or actors.gpu_memory_share"
        )
    return found
