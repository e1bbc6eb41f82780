"""Which backend a run uses: decided once, before anything is started, never changed afterwards.

Another one (gVisor through another engine, machines of somebody else's): a `seat.Worker` that runs
orders, a `WorkerPool` of them made in `make_pool`, its name in stepcoder_dist/config/pools.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.attached import attached_pool
from sandbox.attached.attached_pool import AttachedPool
from sandbox.bubblewrap import bubblewrap_pool
from sandbox.bubblewrap.bubblewrap_pool import BubblewrapPool
from sandbox.containers.container import check_image, connect
from sandbox.containers.container_pool import ContainerPool
from sandbox.process_pool import ProcessPool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import Backend, SandboxConfig
from stepcoder_dist.errors import MissingEngine


def choose(config: SandboxConfig) -> Backend:
    """Resolve `auto`: docker where an engine answers, else bubblewrap, else plain processes.

    Raises `MissingEngine`, with what to do, for a backend that is named and does not work here, and
    wherever an engine answers but lacks the image: a machine that has Docker never goes without by
    itself.
    """
    if config.backend == "process":
        return "process"
    if config.backend == "attached":
        attached_pool.check(config, wait_s=config.engine_wait_s)
        return "attached"
    if config.backend == "bubblewrap":
        bubblewrap_pool.check(config.root)
        return "bubblewrap"
    try:
        client = connect(config.engine_answer_s)
    except MissingEngine:
        if config.backend == "auto":
            return _without_an_engine(config)
        raise
    try:
        check_image(client, config.image)
    finally:
        client.close()
    return "docker"


def _without_an_engine(config: SandboxConfig) -> Backend:
    try:
        bubblewrap_pool.check(config.root)
    except MissingEngine:
        return "process"
    return "bubblewrap"


def make_pool(config: SandboxConfig, backend: Backend) -> WorkerPool:
    """Return a pool that is not started yet."""
    pools: dict[Backend, Callable[[SandboxConfig], WorkerPool]] = {
        "docker": ContainerPool,
        "bubblewrap": BubblewrapPool,
        "attached": AttachedPool,
        "process": ProcessPool,
    }
    return pools[backend](config)


def open_pool(**settings: Any) -> WorkerPool:
    """Return a pool for `async with`, by the keys of `[sandbox]` in a run file: `containers=4`.

    Raises `MissingEngine` without an engine or the image, and pydantic's `ValidationError`.
    """
    config = SandboxConfig(**settings)
    return make_pool(config, choose(config))
