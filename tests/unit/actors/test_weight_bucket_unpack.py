"""The actor's side of a bucket: bytes to tensors, and damaged buckets refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from actors.bucket_tensors import check_bytes, unpack  # noqa: E402
from stepcoder_dist.errors import WeightPushError  # noqa: E402
from stepcoder_dist.host.checksum import checksum  # noqa: E402
from stepcoder_dist.records import WeightBucket  # noqa: E402


def bucket() -> WeightBucket:
    """Three bfloat16 (6 bytes), then a 2 × 2 float32."""
    halves = torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16).view(torch.uint8).numpy()
    floats = np.array([[4.0, 5.0], [6.0, 7.0]], dtype=np.float32)
    tensors = (halves, floats.reshape(-1).view(np.uint8))
    return WeightBucket(
        version=3,
        names=("norm", "proj"),
        dtypes=("bfloat16", "float32"),
        shapes=((3,), (2, 2)),
        tensors=tensors,
        checksum=checksum(tensors),
    )


def test_tensors_come_out_with_their_names_types_and_shapes() -> None:
    (name, norm), (other, proj) = unpack(bucket())
    assert (name, norm.dtype, norm.tolist()) == ("norm", torch.bfloat16, [1.0, 2.0, 3.0])
    assert (other, proj.dtype, proj.tolist()) == ("proj", torch.float32, [[4.0, 5.0], [6.0, 7.0]])


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_bytes_that_are_mapped_read_only_are_unpacked_without_a_copy() -> None:
    read_only = bucket()
    for tensor in read_only.tensors:
        tensor.flags.writeable = False
    got = dict(unpack(read_only))
    assert [tensor.sum().item() for tensor in got.values()] == [6.0, 22.0]
    assert got["proj"].data_ptr() == read_only.tensors[1].ctypes.data, "it was copied"


def test_one_flipped_bit_is_refused() -> None:
    damaged = bucket()
    check_bytes(damaged)
    damaged.tensors[0][4] ^= 1
    with pytest.raises(WeightPushError, match="version 3 that begins with norm arrived damaged"):
        check_bytes(damaged)


def test_a_bucket_whose_bytes_and_shapes_disagree_is_refused() -> None:
    with pytest.raises(WeightPushError, match="22 bytes declares tensors of 18 bytes"):
        check_bytes(dataclasses.replace(bucket(), shapes=((3,), (3, 1))))
