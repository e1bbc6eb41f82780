"""A real Ray head with token authentication, started and used as a person does, ended by its id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import (
    REPOSITORY,
    left_in_shared_memory,
    processes_by_id,
    processes_of_session,
    read_until,
    shared_memory,
)

from sandbox.containers.container import check_image, connect
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine


def free_ports(count: int) -> list[int]:
    """Ports that the system picked; held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Head:
    """`ray start --head` in a home and with temporary folders of its own."""

    def __init__(self, *, resources: Mapping[str, float] | None = None, **variables: str) -> None:
        """`resources`: names that its own node has; `variables`: more of its environment."""
        # short: Ray's Unix sockets lie inside
        self.folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))
        self._nodes: list[subprocess.Popen[str]] = []
        self.home, self.temporary = self.folder / "home", self.folder / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()
        gcs, dashboard, self._metrics, agent, client = free_ports(5)
        self.address = f"http://127.0.0.1:{dashboard}"
        self.cluster = f"127.0.0.1:{gcs}"
        """`RAY_ADDRESS` of a driver that is no job of the head's."""
        self.metrics_address = f"127.0.0.1:{self._metrics}"
        """What Prometheus scrapes."""
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "STEPCODER_"))},
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # what vLLM knows of a model's class: without it each engine imports itself twice
            "VLLM_CACHE_ROOT": str(Path("~/.cache/vllm").expanduser()),
            "RAY_AUTH_MODE": "token",
            "RAY_metrics_report_interval_ms": "500",
            "RAY_raylet_start_wait_time_s": "240",  # a busy machine
            "RAY_agent_register_timeout_ms": "240000",
            **variables,
        }
        self.environment.pop("PYTHONPATH", None)  # an installed package, as on a cluster
        self.ray("get-auth-token", "--generate")
        self.process = self._started(
            "--head", "--disable-usage-stats", f"--port={gcs}", f"--dashboard-port={dashboard}",
            f"--metrics-export-port={self._metrics}", f"--dashboard-agent-listen-port={agent}",
            f"--ray-client-server-port={client}", f"--temp-dir={self.folder}/ray", "--num-cpus=2",
            resources=resources or {},
        )  # fmt: skip
        self.environment["RAY_API_SERVER_ADDRESS"] = self.address

    def _started(self, *options: str, resources: Mapping[str, float]) -> subprocess.Popen[str]:
        """`ray start` with these options, once it is up: a session of its own."""
        process = subprocess.Popen(
            [
                "ray", "start", "--block", "--node-ip-address=127.0.0.1", *options,
                f"--object-store-memory={200 * 2**20}", f"--resources={json.dumps(resources)}",
            ],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )  # fmt: skip
        read_until(process, lambda line: "Ray runtime started" in line)
        return process

    def another_node(self, resources: Mapping[str, float]) -> subprocess.Popen[str]:
        """Start a node that has these resources next to one CPU; a signal to its session ends it.

        The head ends what is left of it.
        """
        agent, metrics = free_ports(2)
        node = self._started(
            f"--address={self.cluster}", "--num-cpus=1",
            f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}",
            resources=resources,
        )  # fmt: skip
        self._nodes.append(node)
        return node

    def own_pids(self) -> list[int]:
        """Ray's own processes of the head: no workers, and no job's driver."""
        family = processes_by_id(self.process.pid)
        return [pid for pid, line in family.items() if not line.startswith("ray::")]

    def close(self) -> None:
        for process in (*self._nodes, self.process):
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
                # Ray's own helpers end a moment after their parent
                psutil.wait_procs(family, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ray(
        self, *arguments: str, code: int | None = 0, environment: Mapping[str, str] | None = None
    ) -> str:
        """One `ray` command from the repository's root; its output."""
        done = subprocess.run(
            ["ray", *arguments],
            env=self.environment | (environment or {}),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert code is None or done.returncode == code, done.stdout[-4000:]
        return done.stdout

    def submit(self, name: str, *entrypoint: str) -> None:
        """`ray job submit --working-dir .`, without waiting for its end."""
        variables = json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}})
        self.ray(
            "job", "submit", "--no-wait", f"--submission-id={name}", "--working-dir=.",
            f"--runtime-env-json={variables}", "--", *entrypoint,
        )  # fmt: skip

    def stepcoder(self, *arguments: str, code: int = 0) -> str:
        """One `stepcoder` command from another shell of the head's machine; what it answers.

        Where it is to fail, its error.
        """
        done = subprocess.run(
            ["stepcoder", *arguments],
            env=self.environment | {"RAY_ADDRESS": self.cluster},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stderr if code else done.stdout

    def follow(self, name: str) -> subprocess.Popen[str]:
        """`ray job logs --follow`: ends with the job."""
        return subprocess.Popen(
            ["ray", "job", "logs", "--follow", name],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def listed(self, what: str) -> list[dict[str, Any]]:
        """`ray list WHAT` of what lives."""
        live = "ALIVE" if what == "actors" else "CREATED"
        output = self.ray("list", what, "--filter", f"state={live}", "--detail", "--format=json")
        if "No resource in the cluster" in output:
            return []
        found: list[dict[str, Any]] = json.loads(output[output.index("[") :])
        return found

    def metrics(self) -> dict[str, float]:
        """The Prometheus endpoint of the head's node: the last value of each name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics") as page:
            lines = page.read().decode().splitlines()
        values = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name.partition("{")[0]: float(value) for name, _, value in values}


@contextmanager
def running(*, resources: Mapping[str, float] | None = None, **variables: str) -> Iterator[Head]:
    """A head of which no process is left in the end."""
    head = Head(resources=resources, **variables)
    try:
        yield head
    finally:
        head.close()
    assert processes_of_session(head.process.pid) == []


@contextmanager
def with_containers() -> Iterator[None]:
    """Skip where no container can be started; nothing stays in shared memory."""
    try:
        with closing(connect()) as client:
            check_image(client, SandboxConfig().image)
    except MissingEngine as error:
        pytest.skip(str(error))
    before = shared_memory()
    yield
    assert left_in_shared_memory(before) == set()
