"""How a module's parameters are cut into buckets, and that every byte comes out again."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from learner.push.weight_buckets import pack, plan_buckets, whole_tensors  # noqa: E402
from stepcoder_dist.host.checksum import checksum  # noqa: E402


def module_of(*shapes: tuple[int, ...], dtype: object = torch.float32) -> torch.nn.Module:
    module = torch.nn.Module()
    for place, shape in enumerate(shapes):
        values = torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape) + place
        module.register_parameter(f"w{place}", torch.nn.Parameter(values.to(dtype)))
    return module


def names(module: torch.nn.Module, bucket_bytes: int) -> list[list[str]]:
    return [[named.name for named in bucket] for bucket in plan_buckets(module, bucket_bytes)]


def test_parameters_fill_buckets_in_the_modules_order() -> None:
    module = module_of((4,), (4,), (2,), (4,))  # 16, 16, 8 and 16 bytes
    assert names(module, 40) == [["w0", "w1", "w2"], ["w3"]]
    assert names(module, 32) == [["w0", "w1"], ["w2", "w3"]]
    assert names(module, 1000) == [["w0", "w1", "w2", "w3"]]


def test_a_parameter_larger_than_a_bucket_travels_alone() -> None:
    assert names(module_of((2,), (100,), (2,)), 16) == [["w0"], ["w1"], ["w2"]]


def test_tied_parameters_are_sent_once_under_their_first_name() -> None:
    module = module_of((4, 2))
    module.register_parameter("lm_head", module.w0)
    assert names(module, 1000) == [["w0"]]


def test_a_bucket_holds_every_tensor_byte_for_byte() -> None:
    module = module_of((2, 3), (3,))
    (plan,) = plan_buckets(module, 1000)

    bucket = pack(plan, version=7)

    assert bucket.version == 7
    assert bucket.names == ("w0", "w1")
    assert bucket.dtypes == ("float32", "float32")
    assert bucket.shapes == ((2, 3), (3,))
    expected = np.array([0, 1, 2, 3, 4, 5, 1, 2, 3], dtype=np.float32)
    assert np.concatenate(bucket.tensors).view(np.float32).tolist() == expected.tolist()
    assert bucket.checksum == checksum([expected[:6].view(np.uint8), expected[6:].view(np.uint8)])


def test_bfloat16_keeps_its_two_bytes() -> None:
    (plan,) = plan_buckets(module_of((3,), dtype=torch.bfloat16), 1000)

    bucket = pack(plan, version=1)

    assert bucket.dtypes == ("bfloat16",)
    values = torch.from_numpy(bucket.tensors[0].copy()).view(torch.bfloat16)
    assert values.tolist() == [0.0, 1.0, 2.0]


def test_a_transposed_parameter_is_sent_in_its_logical_order() -> None:
    module = torch.nn.Module()
    transposed = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t()
    module.register_parameter("w", torch.nn.Parameter(transposed))

    (plan,) = plan_buckets(module, 1000)

    assert pack(plan, version=1).tensors[0].view(np.float32).tolist() == [1.0, 3.0, 2.0, 4.0]


def test_whole_tensors_come_in_the_order_of_the_plan() -> None:
    module = module_of((2,), (3,))
    pairs = [(name, tensor.tolist()) for name, tensor in whole_tensors(plan_buckets(module, 8))]
    assert pairs == [("w0", [0.0, 1.0]), ("w1", [1.0, 2.0, 3.0])]
