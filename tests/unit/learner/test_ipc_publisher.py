"""Who reads what in a push over CUDA IPC: two ranks and their engines in this process.

vLLM packs, on the CPU; a handle is the buffer itself. What CUDA does with handles needs a GPU
(tests/integration/test_weight_push.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")
torch = pytest.importorskip("torch")
packed_tensor = pytest.importorskip("vllm.distributed.weight_transfer.packed_tensor")

from learner.push import ipc_publisher, push_round  # noqa: E402
from learner.push.ipc_publisher import IpcPublisher  # noqa: E402
from stepcoder_dist.errors import MissingEngine, WeightPushError  # noqa: E402

RANKS = 2
BUCKET_BYTES = 64


def module(rank: int) -> Any:
    """Tensors of 24, 40 and 200 bytes: chunks of the first two and of the last.

    Real ranks have the same weights; here their values say whose buffer an engine has read.
    """
    made = torch.nn.Module()
    for name, size in (("a", 6), ("b", 10), ("c", 50)):
        made.register_parameter(name, torch.nn.Parameter(torch.arange(size) + 100.0 * rank))
    return made


class Engine:
    """A rollout actor's methods as remote calls; it reads the buffer of its own GPU."""

    def __init__(self, uuid: str, fails_in: str = "") -> None:
        self.uuid = uuid
        self.calls: list[str] = []
        self.tensors: dict[str, Any] = {}
        self._fails_in = fails_in

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self.calls.append(method)
            if method == self._fails_in:
                return WeightPushError(f"{self.uuid} does not {method}")
            if method == "receive_update":
                self._read(**arguments[0])
            if method == "finish_update":
                self.committed = arguments
            return f"{self.uuid} {method} {len(self.calls)}"

        return SimpleNamespace(remote=remote)

    def _read(self, **info: Any) -> None:
        size = sum(info["tensor_sizes"])
        (buffer,) = info["ipc_handles"][self.uuid]
        dtypes = [getattr(torch, name) for name in info["dtype_names"]]
        unpacked = packed_tensor.unpack_tensor(
            buffer[:size], info["names"], info["shapes"], dtypes, info["tensor_sizes"]
        )
        self.tensors |= {name: tensor.clone() for name, tensor in unpacked}


class _OnTheCpu:
    """torch, where "cuda" is the CPU."""

    cuda = SimpleNamespace(current_stream=lambda: SimpleNamespace(synchronize=lambda: None))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, size: int, *, dtype: Any, device: str) -> Any:
        del device
        return torch.empty(size, dtype=dtype)


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[BaseException | None]]:
    """Push from two ranks to the given engines: what each rank raised."""
    meet, said = threading.Barrier(RANKS), {}

    def number() -> int:
        return int(threading.current_thread().name)

    def swapped(own: Any, _world_size: int) -> list[Any]:
        said[number()] = own
        meet.wait(timeout=10)
        everything = [said[rank] for rank in range(RANKS)]
        meet.wait(timeout=10)
        return everything

    def get(call: Any) -> Any:
        if isinstance(call, Exception):
            raise call
        return call

    cuda = SimpleNamespace(
        is_available=lambda: True,
        current_device=lambda: 0,
        get_device_properties=lambda _: SimpleNamespace(uuid=f"GPU-{number()}"),
        ipc_collect=lambda: None,
    )
    monkeypatch.setattr(ipc_publisher, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(ipc_publisher, "swapped", swapped)
    monkeypatch.setattr(ipc_publisher, "agree", lambda word, world: swapped(word, world)[0])
    monkeypatch.setattr(packed_tensor, "torch", _OnTheCpu())
    monkeypatch.setattr(packed_tensor, "reduce_tensor", lambda tensor: (None, (tensor,)))
    monkeypatch.setattr(push_round.ray, "get", get)
    monkeypatch.setattr(push_round.ray, "wait", lambda calls, **_: (calls, []))

    def push(engines: list[Engine], versions: tuple[int, ...] = (7,)) -> list[Any]:
        def of_rank(rank: int) -> BaseException | None:
            threading.current_thread().name = str(rank)
            publisher = IpcPublisher(module(rank), rank, RANKS, BUCKET_BYTES)
            try:
                for version in versions:
                    publisher.push(version, engines, 5.0)
            except WeightPushError as error:
                return error
            return None

        with ThreadPoolExecutor(RANKS) as threads:
            return list(threads.map(of_rank, range(RANKS)))

    return push


def test_every_engine_reads_all_tensors_from_the_rank_on_its_gpu(
    ranks: Callable[..., list[Any]],
) -> None:
    engines = [Engine("GPU-1"), Engine("GPU-0")]  # the order of targets need not be the ranks'
    assert ranks(engines, (7, 8)) == [None, None]
    for rank, engine in enumerate(reversed(engines)):
        expected = dict(module(rank).named_parameters())
        assert engine.tensors.keys() == expected.keys()
        assert all(torch.equal(engine.tensors[name], expected[name]) for name in expected)
        one_push = ["start_update", "receive_update", "receive_update", "finish_update"]
        assert engine.calls == ["join_transfer", *one_push, *one_push]
        assert engine.committed == (8, 2)


def test_an_engine_that_fails_is_named_on_every_rank_and_the_other_has_the_version(
    ranks: Callable[..., list[Any]],
) -> None:
    good, bad = Engine("GPU-0"), Engine("GPU-1", fails_in="receive_update")
    for error in ranks([good, bad]):
        assert "version 7 did not reach 1 of 2" in str(error)
        assert "GPU-1 does not receive_update" in str(error)
    assert good.committed == (7, 2)
    assert bad.calls[-1] == "abort_update"
    assert bad.calls.count("receive_update") == 1


def test_when_no_engine_is_left_the_ranks_stop_together(ranks: Callable[..., list[Any]]) -> None:
    engines = [Engine(f"GPU-{rank}", fails_in="receive_update") for rank in range(RANKS)]
    for error in ranks(engines):
        assert "version 7 did not reach 2 of 2" in str(error)
    assert all("finish_update" not in engine.calls for engine in engines)


def test_without_a_gpu_it_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingEngine, match='use "object_store"'):
        IpcPublisher(module(0), 0, 1, BUCKET_BYTES)
