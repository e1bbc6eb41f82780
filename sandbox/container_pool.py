"""Warm containers that judge programs: `ports.Executor` over Docker."""

from __future__ import annotations

import asyncio

from sandbox.container import Container, check_image, connect
from sandbox.orphans import reap_orphans
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig


class ContainerPool(WorkerPool):
    """`config.containers` warm containers, each with one program at a time."""

    def __init__(self, config: SandboxConfig) -> None:
        """Raises `MissingEngine` without an engine or the image."""
        self._client = connect()
        self._image = config.image
        check_image(self._client, config.image)
        limits = config.limits
        super().__init__(
            lambda: Container(self._client, config.image, limits),
            workers=config.containers,
            limits=limits,
            attempts=config.attempts,
        )

    async def start(self) -> None:
        await asyncio.to_thread(reap_orphans, self._client)
        await super().start()

    async def close(self) -> None:
        await super().close()
        self._client.close()
