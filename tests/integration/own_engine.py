"""A Docker engine of a test's own, which it may stop, kill and start again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

_START_TIMEOUT_S = 60


class OwnEngine:
    """`dockerd` with its own files, socket and containerd, and the sandbox image in it."""

    def __init__(self, image: str) -> None:
        # not below pytest's folder: the path of a Unix socket has 107 bytes at most
        self._folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self.host = f"unix://{self._folder}/sock"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
            self._load(image)
        except BaseException:
            self.end()
            self._remove_folder()
            raise

    def _load(self, image: str) -> None:
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            load = ["docker", "-H", self.host, "load", "--quiet"]
            subprocess.run(load, stdin=saved.stdout, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        folder = self._folder
        # `--bridge none` removes docker0 of its network namespace: it has to be one of its own
        command = ["unshare", "--net", "dockerd", "--host", self.host, "--pidfile", f"{folder}/pid"]
        command += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
        command += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        command += [
            "--containerd-namespace",
            "own",
            "--containerd-plugins-namespace",
            "own-plugins",
        ]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--shutdown-timeout", "2"], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.answers():
            assert self._process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(60)
            self._process = None
        # left by an engine that was killed: the next would wait for the containerd that it names
        (self._folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        """End it, and everything of it."""
        if self._process is None:
            self.start()  # an engine that was killed has left its containers running
        with closing(docker.DockerClient(base_url=self.host)) as client:
            for found in client.containers.list(all=True, ignore_removed=True):
                found.remove(force=True)
        self.end()
        self._remove_folder()

    def _remove_folder(self) -> None:
        mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
        for place in sorted((line.split()[1] for line in mounts), reverse=True):
            if place.startswith(f"{self._folder}/"):  # left by an engine that was killed
                subprocess.run(["umount", place], check=True)
        shutil.rmtree(self._folder)

    def answers(self) -> bool:
        try:
            with closing(docker.DockerClient(base_url=self.host)) as client:
                return bool(client.ping())
        except (DockerException, RequestException):
            return False

    def containers(self) -> list[str]:
        with closing(docker.DockerClient(base_url=self.host)) as client:
            return [c.name for c in client.containers.list(all=True, ignore_removed=True)]
