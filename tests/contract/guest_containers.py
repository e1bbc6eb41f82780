"""Guests in containers that a test starts by hand, with the flags that a pod's manifest gives."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.attached import guest_listener
from sandbox.containers.container import check_image, connect
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
