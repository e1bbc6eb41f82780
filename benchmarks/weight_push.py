"""How fast new weights reach rollout actors through the object store, next to two yardsticks.

    python benchmarks/weight_push.py [--mb 10 100 1000] [--receivers 1 4] [--rounds 5] [--json]

The tensors are those of a bfloat16 transformer (12 a layer). One process owns them, as rank 0 does;
each receiver is a Ray actor that takes them through the methods of `ports.WeightTarget` and copies
them into tensors of its own. In turn, so that whatever else the machine does meets all alike, the
least time of the rounds counts:

* **push**: `SnapshotTaker`, then `Deliveries`, as the learner's processes and the driver do.
* **a call a tensor**: each tensor is put and loaded by every receiver before the next one.
* **memcpy**: the owner copies every tensor into another one that is there, on one thread.

*learner held*: until the snapshot is there and the learner may step. *engine paused*: the longest
from a receiver's start_update to its finish_update. Rates count the model's bytes once, however
many receivers take them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

import ray
import torch
from rich.console import Console
from rich.table import Table

from actors.bucket_tensors import check_bytes, unpack
from learner.push.delivery import Deliveries
from learner.push.snapshot import SnapshotTaker
from stepcoder_dist.records import WeightBucket, WeightSnapshot

MB = 10**6
BUCKET_BYTES = 64 * 2**20
HIDDEN = {10: 256, 100: 512}
"""Width by size in MB; 896 (Qwen2.5-0.5B's) for others."""


def layers_of(mb: int) -> list[dict[str, tuple[int, ...]]]:
    """Return the shapes of as many layers as make `mb` megabytes."""
    hidden = HIDDEN.get(mb, 896)
    inner, keys = hidden * 11 // 2, hidden // 4
    layer = {
        "q": (hidden, hidden),
        "q_bias": (hidden,),
        "k": (keys, hidden),
        "k_bias": (keys,),
        "v": (keys, hidden),
        "v_bias": (keys,),
        "o": (hidden, hidden),
        "gate": (inner, hidden),
        "up": (inner, hidden),
        "down": (hidden, inner),
        "norm": (hidden,),
        "norm_after": (hidden,),
    }
    layer_bytes = 2 * sum(torch.Size(shape).numel() for shape in layer.values())
    return [layer] * max(1, round(mb * MB / layer_bytes))


class Owner:
    """Rank 0: it has the weights."""

    def __init__(self, mb: int) -> None:
        torch.set_num_threads(1)
        module = torch.nn.Module()
        for index, layer in enumerate(layers_of(mb)):
            for name, shape in layer.items():
                weights = torch.randn(shape).bfloat16()
                module.register_parameter(f"l{index}_{name}", torch.nn.Parameter(weights))
        self._module = module
        self._copies = [parameter.detach().clone() for parameter in module.parameters()]
        self._taker = SnapshotTaker(module, 0, 1, BUCKET_BYTES)

    def size(self) -> tuple[int, int]:
        tensors = list(self._module.parameters())
        return sum(tensor.nbytes for tensor in tensors), len(tensors)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(p.shape) for name, p in self._module.named_parameters()}

    def change(self) -> float:
        """Change every weight; return a sum of all."""
        with torch.no_grad():
            for parameter in self._module.parameters():
                parameter.add_(1)
        return sum(float(p.detach().double().sum()) for p in self._module.parameters())

    def snapshot(self, version: int) -> WeightSnapshot:
        return WeightSnapshot(version=version, buckets=self._taker.take(version), probe_logprobs=())

    def call_a_tensor(self, receivers: list[Any]) -> float:
        begun = time.perf_counter()
        for name, parameter in self._module.named_parameters():
            reference = ray.put(parameter.detach().reshape(-1).view(torch.uint8).numpy())
            ray.get([receiver.load_tensor.remote(name, reference) for receiver in receivers])
        return time.perf_counter() - begun

    def memcpy(self) -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            for copy, parameter in zip(self._copies, self._module.parameters(), strict=True):
                copy.copy_(parameter)
        return time.perf_counter() - begun


class Receiver:
    """A rollout actor whose engine is a dictionary of tensors."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        torch.set_num_threads(1)
        self._tensors = {name: torch.zeros(s, dtype=torch.bfloat16) for name, s in shapes.items()}
        self._begun = 0.0
        self._pause_s = 0.0

    def start_update(self, version: int) -> None:
        del version
        self._begun = time.perf_counter()

    def load_bucket(self, bucket: WeightBucket) -> None:
        check_bytes(bucket)
        for name, tensor in unpack(bucket):
            self._tensors[name].copy_(tensor)

    def finish_update(self, version: int, buckets: int) -> None:
        del version, buckets
        self._pause_s = time.perf_counter() - self._begun

    def abort_update(self, version: int) -> None:
        raise AssertionError(f"the push of version {version} failed")

    def load_tensor(self, name: str, data: Any) -> None:
        tensor = self._tensors[name]
        tensor.copy_(torch.from_numpy(data).view(torch.bfloat16).view(tensor.shape))

    def pause_s(self) -> float:
        return self._pause_s

    def sum(self) -> float:
        return sum(float(tensor.double().sum()) for tensor in self._tensors.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The least seconds of each, and what follows from them."""

    mb: float
    tensors: int
    receivers: int
    push_s: float
    held_s: float
    paused_s: float
    call_a_tensor_s: float
    memcpy_s: float

    @property
    def gb_s(self) -> float:
        return self.mb / 1000 / self.push_s

    @property
    def over_calls(self) -> float:
        return self.call_a_tensor_s / self.push_s

    @property
    def of_memcpy(self) -> float:
        """Rate of the push over the rate of memcpy, which has no receivers."""
        return self.memcpy_s / self.push_s


async def measure(mb: int, number: int, rounds: int) -> Figures:
    owner = ray.remote(Owner).options(num_cpus=0).remote(mb)
    receiver_class = ray.remote(Receiver).options(num_cpus=0)
    receivers = [receiver_class.remote(await owner.shapes.remote()) for _ in range(number)]
    size, tensors = await owner.size.remote()
    deliveries = Deliveries()
    taken: list[tuple[float, float, float, float, float]] = []
    for version in range(rounds + 1):
        wanted = await owner.change.remote()
        begun = time.perf_counter()
        snapshot = await owner.snapshot.remote(version)
        held = time.perf_counter() - begun
        await deliveries.deliver(snapshot, receivers, None, 600)
        push = time.perf_counter() - begun
        del snapshot
        for receiver in receivers:
            assert await receiver.sum.remote() == wanted, "a receiver has other weights"
        paused = max([await receiver.pause_s.remote() for receiver in receivers])
        calls = await owner.call_a_tensor.remote(receivers)
        memcpy = await owner.memcpy.remote()
        if version:  # the first round fills the object store's pages
            taken.append((push, held, paused, calls, memcpy))
    for actor in [owner, *receivers]:
        ray.kill(actor)
    push, held, paused, calls, memcpy = (min(column) for column in zip(*taken, strict=True))
    return Figures(
        mb=size / MB,
        tensors=tensors,
        receivers=number,
        push_s=push,
        held_s=held,
        paused_s=paused,
        call_a_tensor_s=calls,
        memcpy_s=memcpy,
    )


def show(found: list[Figures]) -> None:
    table = Table(box=None)
    for title in (
        *("MB", "tensors", "receivers", "push, s", "GB/s", "learner held, s", "engine paused, s"),
        *("a call a tensor, s", "ratio", "memcpy, s", "ratio"),
    ):
        table.add_column(title, justify="right")
    for each in found:
        table.add_row(
            f"{each.mb:,.0f}",
            str(each.tensors),
            str(each.receivers),
            f"{each.push_s:.3f}",
            f"{each.gb_s:.2f}",
            f"{each.held_s:.3f}",
            f"{each.paused_s:.3f}",
            f"{each.call_a_tensor_s:.3f}",
            f"{each.over_calls:.1f}",
            f"{each.memcpy_s:.3f}",
            f"{each.of_memcpy:.2f}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--receivers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead")
    arguments = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=True,
        object_store_memory=3 * max(arguments.mb) * MB + 200 * MB,
    )
    found = []
    for mb in arguments.mb:
        for number in arguments.receivers:
            found.append(asyncio.run(measure(mb, number, arguments.rounds)))
            if arguments.json:
                print(json.dumps(asdict(found[-1])), flush=True)
    ray.shutdown()
    if not arguments.json:
        show(found)


if __name__ == "__main__":
    main()
