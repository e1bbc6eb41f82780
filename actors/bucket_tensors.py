"""A weight bucket's bytes back to named tensors."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import torch

from stepcoder_dist.errors import WeightPushError
from stepcoder_dist.records import WeightBucket


def check_bytes(bucket: WeightBucket) -> None:
    """Raise `WeightPushError` unless the bytes are as sent and as many as declared."""
    declared = sum(
        math.prod(shape) * getattr(torch, dtype).itemsize
        for dtype, shape in zip(bucket.dtypes, bucket.shapes, strict=True)
    )
    if declared != bucket.data.nbytes:
        raise WeightPushError(
            f"a bucket of {bucket.data.nbytes} bytes declares tensors of {declared} bytes"
        )
    seen = zlib.crc32(bucket.data.data)
    if seen != bucket.checksum:
        raise WeightPushError(
            f"a bucket of version {bucket.version} that begins with {bucket.names[0]} arrived "
            f"damaged: its CRC-32 is {seen:#010x}, not {bucket.checksum:#010x}; push again"
        )


def unpack(bucket: WeightBucket) -> Iterator[tuple[str, torch.Tensor]]:
    """The bucket's tensors by name: views into its bytes where alignment allows."""
    # torch has no read-only tensors; what comes from the object store is mapped read-only.
    data = bucket.data if bucket.data.flags.writeable else bucket.data.copy()
    flat = torch.from_numpy(data)
    offset = 0
    for name, dtype_name, shape in zip(bucket.names, bucket.dtypes, bucket.shapes, strict=True):
        dtype = getattr(torch, dtype_name)
        size = math.prod(shape) * dtype.itemsize
        piece = flat[offset : offset + size]
        # A view as a wider type has to begin at a multiple of its width.
        aligned = piece if offset % dtype.itemsize == 0 else piece.clone()
        yield name, aligned.view(dtype).view(shape)
        offset += size
