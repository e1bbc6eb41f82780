"""Every backend for tests; guests in containers started by hand, with a pod's manifest's flags."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.attached import guest_listener
from sandbox.backend import choose
from sandbox.containers.container import check_image, connect
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine

IMAGE = "stepcoder-sandbox:latest"
LISTENER = Path(guest_listener.__file__)
FIRST_USER = 310_000

CONFINED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "768m", "--memory-swap", "768m", "--cpus", "1", "--pids-limit", "64"),
    *("--restart", "always", "--tmpfs", "/tmp:size=64m,mode=1777", "--stop-timeout", "1"),
)
"""readOnlyRootFilesystem, capabilities.drop, allowPrivilegeEscalation: false, limits, restartPolicy
and an emptyDir. The profile on system calls is the engine's own (RuntimeDefault)."""


OWN = [
    pytest.param("docker", marks=pytest.mark.docker),
    pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
    "process",
]
"""The backends that start their guests, for a fixture's `params`."""
BACKENDS = [*OWN, pytest.param("attached", marks=[pytest.mark.docker, pytest.mark.long])]
"""All of them."""
SHORT_ON_DOCKER = [
    OWN[0],
    pytest.param("bubblewrap", marks=[pytest.mark.bubblewrap, pytest.mark.long]),
    pytest.param("process", marks=pytest.mark.long),
    BACKENDS[-1],
]
"""All of them, for a test that waits long: one is enough where every test runs."""


@contextlib.contextmanager
def available(backend: str, folder: Path, places: int) -> Iterator[dict[str, str]]:
    """Yield what `SandboxConfig` needs for so many places of this backend, or skip the test."""
    try:
        if backend == "attached":
            with guests(folder, places) as sockets:
                yield {"backend": backend, "sockets": sockets}
            return
        choose(SandboxConfig.model_validate({"backend": backend}))
    except MissingEngine as error:
        pytest.skip(str(error))
    yield {"backend": backend}


@contextlib.contextmanager
def guests(folder: Path, number: int) -> Iterator[str]:
    """Start so many; return the pattern of their sockets. They share a network, as in a pod."""
    try:
        client = connect()
        check_image(client, IMAGE)
        client.close()
    except MissingEngine as error:
        pytest.skip(str(error))
    names: list[str] = []
    try:
        for place in range(number):
            own = folder / f"guest-{place}"
            own.mkdir()
            own.chmod(0o777)
            name = f"stepcoder-guest-{uuid.uuid4().hex[:12]}"
            network = ["--network", f"container:{names[0]}" if names else "bridge"]
            user = str(FIRST_USER + place)
            command = [
                *("docker", "run", "--detach", "--name", name, *network, *CONFINED),
                *("--user", f"{user}:{user}", "--volume", f"{own}:/guest"),
                *("--volume", f"{LISTENER}:/guest_listener.py:ro"),
                *(IMAGE, "python3", "/guest_listener.py", "/guest/guest.sock"),
            ]
            subprocess.run(command, check=True, capture_output=True)
            names.append(name)
        yield f"{folder}/guest-*/guest.sock"
    finally:
        if names:
            remove = ["docker", "rm", "--force", *names]
            subprocess.run(remove, check=True, capture_output=True)
