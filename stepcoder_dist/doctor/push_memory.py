"""What a weight push needs of the GPUs on both sides."""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import model_shape, network_sizes

_PACKED_BUFFERS = 2
"""Buffers of vLLM's NCCL transfer, on each side."""

_MERGED = 2
"""Float32 tensors of a weight's size while its adapter is merged: `learner/lora/adapter.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushMemory:
    """Bytes of one weight push on GPUs. Through the object store buckets are on the host."""

    sender: int
    """Bytes on rank 0, next to what it holds between two steps. At stage 3 every rank gathers."""
    receiver: int
    """Bytes on each GPU of an engine, above its `actors.gpu_memory_share`."""


def push_memory(config: RunConfig, shape: ModelShape) -> PushMemory:
    """Return the memory that a push needs on the GPU of rank 0 and on each GPU of an engine.

    A packed buffer is closed by the tensor that overfills it, so it holds up to a bucket and the
    largest tensor. A weight with an adapter is merged in float32, one at a time.
    """
    largest = model_shape.bytes_each(config) * shape.vocabulary * shape.hidden_size
    bucket = config.weights.bucket_mib * 2**20
    gathered = max(bucket, largest) if config.learner.zero_stage == 3 else 0  # noqa: PLR2004
    merging = _MERGED * 4 * network_sizes.largest_adapted(shape) if config.learner.lora else 0
    if config.weights.transport == "object_store":
        merged = max(bucket, largest) if merging else 0
        return PushMemory(sender=gathered + merged + merging, receiver=0)
    if config.weights.transport == "ipc":  # one buffer, which the engine reads where it is
        return PushMemory(sender=max(bucket, largest) + 2 * gathered + merging, receiver=0)
    packed = _PACKED_BUFFERS * (bucket + largest)
    # a gathered bucket is copied before it is released
    return PushMemory(sender=packed + 2 * gathered + merging, receiver=packed)
