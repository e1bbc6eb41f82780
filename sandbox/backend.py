"""Which backend a run uses: decided once, before anything is started, never changed afterwards.

Another one (gVisor through another engine, machines of somebody else's): a `seat.Worker` that runs
orders, a `WorkerPool` of them made in `make_pool`, its name in stepcoder_dist/config/pools.py.
"""

from __future__ import annotations

from typing import Any

from sandbox.containers.container import check_image, connect
from sandbox.containers.container_pool import ContainerPool
from sandbox.process_pool import ProcessPool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.errors import MissingEngine


def choose(config: SandboxConfig) -> Backend:
    """Resolve `auto`: docker where an engine answers, else plain processes.

    Raises `MissingEngine`, with how to get one, for `docker` without an engine, and wherever an
    engine answers but lacks the image: a machine that has Docker never goes without by itself.
    """
    if config.backend == "process":
        return "process"
    try:
        client = connect(config.engine_answer_s)
    except MissingEngine:
        if config.backend == "auto":
            return "process"
        raise
    try:
        check_image(client, config.image)
    finally:
        client.close()
    return "docker"


def make_pool(config: SandboxConfig, backend: Backend) -> WorkerPool:
    """Return a pool that is not started yet."""
    return ContainerPool(config) if backend == "docker" else ProcessPool(config)


def open_pool(**settings: Any) -> WorkerPool:
    """A pool for `async with`, by the keys of `[sandbox]` in a run file: `containers=4`.

    Raises `MissingEngine` without an engine or the image, and pydantic's `ValidationError`.
    """
    config = SandboxConfig(**settings)
    return make_pool(config, choose(config))
