"""The pools of the driver over engines and executors of `simulated_parts.py` in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from simulated_parts import Engine, Executor, Load

from actors.actor_pool import ActorPool
from actors.pool.pool_slot import Slot
from actors.pool.slot_keeper import SlotKeeper
from sandbox.pool.executor_handle import ExecutorHandle
from sandbox.pool.executor_pool import ExecutorPool
from stepcoder_dist.config import RunConfig


class _Ready:
    """An answer that is there: what Ray gives for an item of a stream."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Iterator[Any]:
        return self._value
        yield  # a generator that never waits


class _Method:
    """A method of an object in this process, called as Ray's are."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def options(self, *, num_returns: str) -> _Method:
        del num_returns  # a stream
        return _Method(self._stream)

    def remote(self, *arguments: Any) -> Any:
        return self._method(*arguments)

    async def _stream(self, *arguments: Any) -> AsyncIterator[_Ready]:
        async for item in self._method(*arguments):
            yield _Ready(item)


class Here:
    """A handle of an object in this process."""

    def __init__(self, object_: Any) -> None:
        self._object = object_

    def __getattr__(self, name: str) -> _Method:
        method = _Method(getattr(self._object, name))
        setattr(self, name, method)
        return method


def rollout_pool(config: RunConfig, load: Load) -> ActorPool:
    """Return the real pool, whose engines are in this process."""

    class Keeper(SlotKeeper):
        async def _replace_process(self, slot: Slot) -> None:
            slot.handle = Here(Engine(slot.name, load))

        async def _end(self, slot: Slot) -> None:
            slot.handle = None

    return ActorPool(config, "a-model/of-the-hub", keeper=Keeper)


def executor_pool(config: RunConfig, load: Load) -> ExecutorPool:
    """Return the real pool, whose executors are in this process."""

    class Handle(ExecutorHandle):
        def _process(self) -> Any:
            self.actor = self.actor or Here(Executor(self.name, load))
            return self.actor

        async def end(self) -> None:
            self.actor = None

    class Pool(ExecutorPool):
        def _handle(self, name: str) -> ExecutorHandle:
            return Handle(name, self._config, self._lost)

    return Pool(config)
