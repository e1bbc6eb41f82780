"""Warm containers that judge programs: `ports.Sandbox` over Docker."""

from __future__ import annotations

import asyncio

from sandbox.containers.container import (
    ENGINE_ERRORS,
    SYSCTLS,
    Container,
    check_image,
    connect,
    engine_fault,
)
from sandbox.containers.orphans import reap_orphans
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import EngineAway


class ContainerPool(WorkerPool):
    """`config.containers` warm containers, each with one program at a time."""

    def __init__(self, config: SandboxConfig) -> None:
        """Raises `MissingEngine` without an engine or the image."""
        self._client = connect(config.engine_answer_s)
        self._image = config.image
        self._container_limits = config.limits
        self._hash_seed, self._int_digits = config.hash_seed, config.int_digits
        self._sysctls, self._runtime = SYSCTLS, config.runtime
        self._was_away = False
        check_image(self._client, config.image)
        super().__init__(
            self._start_container,
            workers=config.containers,
            limits=config.limits,
            attempts=config.attempts,
            engine_wait_s=config.engine_wait_s,
        )

    async def start(self) -> None:
        await asyncio.to_thread(self._reap)
        await super().start()

    async def close(self) -> None:
        await super().close()
        self._client.close()

    def _start_container(self) -> Container:
        if self._was_away:  # what could not be removed meanwhile can be now
            self._reap()
            self._was_away = False
        try:
            made = Container(
                self._client,
                self._image,
                self._container_limits,
                hash_seed=self._hash_seed,
                int_digits=self._int_digits,
                sysctls=self._sysctls,
                runtime=self._runtime,
            )
        except EngineAway:
            self._was_away = True
            raise
        self._sysctls = made.sysctls  # what the engine refused once it is not asked for again
        return made

    def _reap(self) -> None:
        """Raises `SandboxFault`."""
        try:
            reap_orphans(self._client)
        except ENGINE_ERRORS as error:
            raise engine_fault("orphans cannot be looked for", error, self._client) from error
