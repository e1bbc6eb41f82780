"""A weight bucket's bytes back to named tensors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import torch

from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.host.checksum import checksum
from stepcoder_dist.records import WeightBucket

# torch has no read-only tensors, and what comes from the object store is mapped read-only. Loading
# only reads from it; a write would end the process, not change what another process reads.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


def check_bytes(bucket: WeightBucket) -> None:
    """Raise `WeightPushError` unless the bytes are as sent and as many as declared."""
    declared = [
        math.prod(shape) * getattr(torch, dtype).itemsize
        for dtype, shape in zip(bucket.dtypes, bucket.shapes, strict=True)
    ]
    if declared != [tensor.nbytes for tensor in bucket.tensors]:
        raise WeightPushError(
            f"a bucket of {bucket.nbytes} bytes declares tensors of {sum(declared)} bytes"
        )
    seen = checksum(bucket.tensors)
    if seen != bucket.checksum:
        raise WeightPushError(
            f"a bucket of version {bucket.version} that begins with {bucket.names[0]} arrived "
            f"damaged: its checksum is {seen:#010x}, not {bucket.checksum:#010x}; push again"
        )


def unpack(bucket: WeightBucket) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the bucket's tensors by name, as views into its bytes, which must not be changed."""
    for name, dtype, shape, data in zip(
        bucket.names, bucket.dtypes, bucket.shapes, bucket.tensors, strict=True
    ):
        yield name, torch.from_numpy(data).view(getattr(torch, dtype)).view(shape)
