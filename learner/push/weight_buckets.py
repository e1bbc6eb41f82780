"""A module's parameters as buckets of named tensors, complete on rank 0.

Under ZeRO-3 every rank holds a slice of each parameter; a bucket is gathered by all ranks
together, copied by rank 0, and released again, so that one bucket is what a push needs of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from learner.lora.adapter import LoraLinear, adapters
from learner.zero import zero_engine
from stepcoder_dist.host.checksum import checksum
from stepcoder_dist.records import WeightBucket, WeightVersion


@dataclass(frozen=True, slots=True, eq=False)
class NamedParameter:
    """A parameter under its Hugging Face name, with its shape before ZeRO split it."""

    name: str
    parameter: torch.nn.Parameter
    layer: LoraLinear | None = None
    """The layer whose adapter is merged into this parameter, its weight."""

    def complete(self) -> torch.Tensor:
        """Return the parameter as a model without adapters has it; call it where it is gathered.

        With an adapter that is a new tensor, else the parameter's own memory.
        """
        return self.parameter.detach() if self.layer is None else self.layer.merged()

    @property
    def parts(self) -> list[torch.nn.Parameter]:
        """The parameters that `complete` reads."""
        if self.layer is None:
            return [self.parameter]
        return [self.parameter, self.layer.lora_a, self.layer.lora_b]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(getattr(self.parameter, "ds_shape", self.parameter.shape))

    @property
    def dtype_name(self) -> str:
        return str(self.parameter.dtype).removeprefix("torch.")

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.parameter.dtype.itemsize

    @property
    def is_split(self) -> bool:
        """Whether ZeRO-3 holds a slice of it on each rank."""
        return hasattr(self.parameter, "ds_id")


def plan_buckets(module: torch.nn.Module, bucket_bytes: int) -> list[list[NamedParameter]]:
    """Cut the parameters, in the module's order, into buckets of at most `bucket_bytes`.

    A parameter that is larger has a bucket of its own. The plan is the same on every rank:
    gathering is a collective.
    """
    buckets: list[list[NamedParameter]] = []
    filled = bucket_bytes
    for named in named_parameters(module):
        if filled + named.nbytes > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(named)
        filled += named.nbytes
    return buckets


def named_parameters(module: torch.nn.Module) -> Iterator[NamedParameter]:
    """Yield the parameters of a module as one without adapters has them, in its order.

    Tied parameters appear once, under their first name.
    """
    layers = {id(layer.weight): layer for layer in adapters(module).values()}
    merged = {id(p) for layer in layers.values() for p in (layer.lora_a, layer.lora_b)}
    for name, parameter in module.named_parameters(remove_duplicate=True):
        if id(parameter) not in merged:
            yield NamedParameter(name, parameter, layers.get(id(parameter)))


def gathered(bucket: Sequence[NamedParameter]) -> AbstractContextManager[object]:
    """Gather the bucket's parameters on every rank inside. A collective under ZeRO-3."""
    split = [part for named in bucket if named.is_split for part in named.parts]
    return zero_engine.gathered(split) if split else nullcontext()


def as_bytes(named: NamedParameter) -> torch.Tensor:
    """Return a complete parameter's bytes, uint8 [nbytes], on its device.

    No copy, if it is contiguous and has no adapter.
    """
    return named.complete().reshape(-1).view(torch.uint8)


def bucket_of(
    parameters: Sequence[NamedParameter], version: WeightVersion, tensors: Sequence[torch.Tensor]
) -> WeightBucket:
    """Return the bucket around the parameters' bytes, uint8 [nbytes] each, on the host."""
    data = tuple(tensor.numpy() for tensor in tensors)
    return WeightBucket(
        version=version,
        names=tuple(named.name for named in parameters),
        dtypes=tuple(named.dtype_name for named in parameters),
        shapes=tuple(named.shape for named in parameters),
        tensors=data,
        checksum=checksum(data),
    )


def pack(parameters: Sequence[NamedParameter], version: WeightVersion) -> WeightBucket:
    """Copy complete parameters to the host."""
    return bucket_of(parameters, version, [as_bytes(named).cpu().clone() for named in parameters])


def whole_tensors(
    buckets: Sequence[Sequence[NamedParameter]],
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every complete parameter on its device, one bucket gathered at a time. A collective.

    Yields copies: what ZeRO-3 gathers is freed at the end of its bucket, and a sender may still
    be reading it.
    """
    for bucket in buckets:
        with gathered(bucket), torch.no_grad():
            for named in bucket:
                tensor = named.complete()
                own = named.is_split and named.layer is None
                yield named.name, tensor.clone() if own else tensor
