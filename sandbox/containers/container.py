"""One warm container: started, spoken to over its attached standard input and output, removed.

Nothing is mounted and nothing of ours is in the image, so any engine that the Docker SDK reaches
will do. When this process goes away, however it goes, the engine closes the container's standard
input, the zygote ends, and the engine removes the container.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from types import MappingProxyType
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, DockerException, ImageNotFound
from docker.types import LogConfig, Ulimit
from urllib3.exceptions import HTTPError

from sandbox.confinement.bounds import (
    CAPABILITIES,
    FOLDERS,
    LOWEST_PYTHON,
    OVERHEAD_BYTES,
    SPARE_PROCESSES,
)
from sandbox.containers.attached_channel import AttachedChannel
from sandbox.containers.engine_kinds import as_podman_takes_them, is_podman, settings_for
from sandbox.containers.orphans import IN_USE, owner_labels
from sandbox.guest.layout import RunOrder
from sandbox.guest_link import BOOT, SPARE_INPUT_BYTES, GuestLink, RunReport
from sandbox.orders import python_settings
from stepcoder_dist.errors import EngineAway, MissingEngine, SandboxFault
from stepcoder_dist.records import Limits

ENGINE_ERRORS = (DockerException, requests.exceptions.RequestException, HTTPError)
ANSWER_S = 60.0
"""Seconds in which an engine has to answer, where no run file says so."""
_LAST_EVENTS_S = 2.0
"""Seconds that the engine may take to report why a container has ended."""


def connect(answer_s: float = ANSWER_S) -> docker.DockerClient:
    """Return a client of the engine that the environment names. Raises `MissingEngine`.

    `answer_s`: seconds in which the engine has to answer each request.
    """
    try:
        return _client(answer_s)
    except EngineAway as away:
        raise MissingEngine(
            f"{away}; start one (Debian: apt-get install docker.io), "
            'or set sandbox.backend = "bubblewrap", which needs none, or "process" to go without a '
            "security boundary"
        ) from away


def look_for_engine(answer_s: float = ANSWER_S) -> None:
    """Raise `EngineAway` while the engine that the environment names does not answer."""
    _client(answer_s).close()


def _client(answer_s: float) -> docker.DockerClient:
    try:
        # the stubs know no fractions; requests does
        client = docker.from_env(timeout=answer_s, max_pool_size=64)  # type: ignore[arg-type]
        client.ping()
    except ENGINE_ERRORS as error:
        reason = str(error).splitlines()[0][:200]
        raise EngineAway(f"no Docker engine answers ({reason})") from None
    return client


def engine_fault(what: str, error: Exception, client: docker.DockerClient) -> SandboxFault:
    """Return what went wrong: an engine that is away, or one that is there and failed.

    `client` is what found it out.
    """
    if not isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout):
        try:
            # on a new connection: an engine that stops still answers on the old ones
            look_for_engine(client.api.timeout)
        except EngineAway:
            pass
        else:
            return SandboxFault(f"{what}: {error}")
    return EngineAway(f"{what}: {error}")


def check_image(client: docker.DockerClient, image: str) -> None:
    """Raise `MissingEngine` where the engine lacks the image."""
    try:
        client.images.get(image)
    except ImageNotFound:
        raise MissingEngine(
            f"the sandbox image {image} is missing; get it: {how_to_get(image)}"
        ) from None


def how_to_get(image: str) -> str:
    """Return a command that brings a missing image."""
    if image == "stepcoder-sandbox:latest":
        return "make sandbox-image"
    return f"docker pull {image}, or make sandbox-image IMAGE={image}"


SYSCTLS: Mapping[str, str] = MappingProxyType({"net.ipv4.tcp_max_tw_buckets": "0"})
"""A closed connection is forgotten at once, not after a minute. Where an engine refuses it, a
program that leaves one costs its container."""


class Container:
    """Implements `worker_pool.Worker`."""

    def __init__(
        self,
        client: docker.DockerClient,
        image: str,
        limits: Limits,
        *,
        hash_seed: int = 0,
        int_digits: int = 0,
        sysctls: Mapping[str, str] = SYSCTLS,
        runtime: str | None = None,
    ) -> None:
        """Start it and wait for its zygote. Raises `SandboxFault`."""
        self.sysctls = sysctls
        """Those that it has: none where the engine refused them."""
        self._memory_bytes = limits.memory_bytes + limits.output_bytes + OVERHEAD_BYTES
        self._overhead = self._memory_bytes - limits.memory_bytes
        self._client = client
        self._python = python_settings(hash_seed, int_digits)
        self._container: Any = None
        self._closed = False
        self._name = f"stepcoder-sandbox-{uuid.uuid4().hex[:12]}"
        IN_USE.add(self._name)
        try:
            flags = self._flags(image, limits) | ({"runtime": runtime} if runtime else {})
            channel = self._begin(as_podman_takes_them(flags) if is_podman(client) else flags)
        except ENGINE_ERRORS as error:
            self.close()
            raise engine_fault("a container cannot be started", error, client) from error
        self._link = GuestLink(channel)
        settings = settings_for(client)
        try:
            version = self._link.start(settings)
        except SandboxFault as fault:
            self.close()
            raise engine_fault("a container does not start", fault, client) from fault
        if version[:2] < LOWEST_PYTHON:
            self.close()
            raise SandboxFault(f"{image} has Python {version}; it needs 3.12 or newer")

    def _begin(self, flags: dict[str, Any]) -> AttachedChannel:
        """Create and start it, without sysctls where the engine's kernel or runtime has none."""
        try:
            return self._attach_and_start(flags)
        except APIError as error:
            reason = str(error)
            if not flags["sysctls"] or not ("sysctl" in reason or "/proc/sys" in reason):
                raise
        self.sysctls = {}
        with contextlib.suppress(APIError):
            self._container.remove(force=True)
        return self._attach_and_start({**flags, "sysctls": {}})

    def _attach_and_start(self, flags: dict[str, Any]) -> AttachedChannel:
        self._container = self._client.containers.create(**flags)
        channel = AttachedChannel(
            self._container.attach_socket(
                params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
        )
        self._container.start()
        return channel

    @property
    def name(self) -> str:
        return self._name

    def run(self, order: RunOrder, blobs: list[bytes]) -> RunReport:
        inputs = max(0, sum(order.sizes) - SPARE_INPUT_BYTES)
        needed = order.memory_bytes + self._overhead + inputs
        if needed > self._memory_bytes:
            try:
                self._container.update(mem_limit=needed, memswap_limit=needed)
            except ENGINE_ERRORS as error:
                what = "a container's memory cannot be raised"
                raise engine_fault(what, error, self._client) from error
            self._memory_bytes = needed
        begun = time.monotonic()
        try:
            return self._link.run(order, blobs)
        except SandboxFault as fault:
            if self._ended_for_memory(begun):
                return RunReport.lost_for_memory(order)
            raise engine_fault("a run was cut off", fault, self._client) from fault

    def _ended_for_memory(self, begun: float) -> bool:
        """Return whether the kernel has ended it for memory since then (`time.monotonic`).

        A program that takes back the mark by which the kernel prefers it, and keeps its memory in
        files, makes the zygote the largest process: a failure of the program's, not of ours.
        """
        seen = set()
        with contextlib.suppress(*ENGINE_ERRORS, ValueError, KeyError):
            # by the engine's own clock, which may differ from ours
            now = datetime.fromisoformat(self._client.info()["SystemTime"]).timestamp()
            since = now - (time.monotonic() - begun)
            events = self._client.events(
                since=int(since),
                until=math.ceil(now + _LAST_EVENTS_S),
                filters={"container": self._container.id, "event": ["oom", "die"]},
                decode=True,
            )
            for event in events:
                if event["timeNano"] >= since * 1e9:
                    seen.add(event["Action"])
                if "die" in seen:
                    break
            events.close()
        return {"oom", "die"} <= seen

    def alive(self) -> bool:
        return not self._closed and self._link.alive()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        IN_USE.discard(self._name)
        if self._container is not None:
            # the engine may have removed it already, or be gone itself: then it is reaped later
            with contextlib.suppress(*ENGINE_ERRORS):
                self._container.remove(force=True, v=True)
        if hasattr(self, "_link"):
            self._link.close()

    def _flags(self, image: str, limits: Limits) -> dict[str, Any]:
        tmpfs = {
            path: f"size={mib}m,nr_inodes={inodes},mode=1777,nosuid,nodev,noexec"
            for path, (mib, inodes) in FOLDERS.items()
        }
        seccomp = resources.files("sandbox").joinpath("seccomp.json").read_text(encoding="utf-8")
        return {
            "image": image,
            "entrypoint": ["python3", "-B", "-u", "-s", "-c", BOOT],
            "command": [],
            "name": self._name,
            "hostname": "sandbox",
            "user": "0:0",
            "working_dir": "/tmp",  # noqa: S108
            "environment": {
                "LANG": "C.UTF-8",
                "HOME": "/tmp",  # noqa: S108
                **self._python,
            },
            "stdin_open": True,
            "stop_signal": "SIGKILL",  # process 1 hears no other: an engine would stop late
            "network_mode": "none",
            "sysctls": dict(self.sysctls),
            "read_only": True,
            "tmpfs": tmpfs,
            "cap_drop": ["ALL"],
            "cap_add": list(CAPABILITIES),
            "security_opt": ["no-new-privileges", f"seccomp={seccomp}"],
            "ipc_mode": "none",
            "pids_limit": limits.processes + SPARE_PROCESSES,
            "mem_limit": self._memory_bytes,
            "memswap_limit": self._memory_bytes,
            "nano_cpus": 10**9,
            "ulimits": [Ulimit(name="core", soft=0, hard=0)],
            "log_config": LogConfig(type="none"),
            "auto_remove": True,
            "labels": owner_labels(),
        }
