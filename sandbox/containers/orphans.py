"""Containers that nobody owns any more: found by their labels, removed at the next start.

A container ends by itself when its owner does, for its standard input is closed then. This is for
the rest: an engine that was stopped meanwhile, a container that never started, one that could not
be removed because the engine was away.
"""

from __future__ import annotations

import contextlib
import socket
import time
import uuid

import docker
import requests
from docker.errors import APIError, NotFound

from stepcoder_dist.host.process_identity import owner, started

RUN_LABEL = "stepcoder.sandbox.run"
OWNER_LABEL = "stepcoder.sandbox.owner"
EXPIRES_LABEL = "stepcoder.sandbox.expires"
TIME_TO_LIVE_S = 24 * 3600

RUN_ID = uuid.uuid4().hex
IN_USE: set[str] = set()
"""Names of this process's containers, from before the engine knows of them to their removal."""


def owner_labels() -> dict[str, str]:
    """Return the labels of a container that this process starts."""
    return {
        RUN_LABEL: RUN_ID,
        OWNER_LABEL: owner(),
        EXPIRES_LABEL: str(int(time.time()) + TIME_TO_LIVE_S),
    }


def reap_orphans(client: docker.DockerClient) -> int:
    """Remove containers whose owner is dead, or has given them up, or whose time is up.

    Returns how many. Raises what the Docker SDK raises.
    """
    reaped = 0
    for found in client.containers.list(
        all=True, filters={"label": RUN_LABEL}, ignore_removed=True
    ):
        given_up = found.labels.get(RUN_LABEL) == RUN_ID and found.name not in IN_USE
        if not (given_up or _is_orphan(found.labels)):
            continue
        try:
            found.remove(force=True, v=True)
        except NotFound:
            continue
        except APIError as error:
            if error.status_code == requests.codes.conflict:  # the engine is at it already
                continue
            raise
        reaped += 1
    return reaped


def _is_orphan(labels: dict[str, str]) -> bool:
    with contextlib.suppress(KeyError, ValueError):
        host, pid, began = labels[OWNER_LABEL].rsplit(":", 2)
        if host == socket.gethostname():  # the owner can be asked: a live run may take for ever
            return started(int(pid)) != began
        return time.time() > int(labels[EXPIRES_LABEL])
    return False  # not labelled as ours are: none of our business
