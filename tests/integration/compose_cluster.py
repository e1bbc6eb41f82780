"""The cluster of deploy/compose, used from outside as a person does it, and taken down whole."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from commands import REPOSITORY

FILE = REPOSITORY / "deploy" / "compose" / "compose.yaml"
IMAGES = ("driver", "rollout", "learner", "sandbox-executor", "guest")
_COMMAND_S = 400


class ComposeCluster:
    """`compose up` under a name, with a token and on a port of its own."""

    def __init__(self) -> None:
        self._compose = _compose()
        for image in IMAGES:
            _needed(image)
        name = f"stepcoder-test-{uuid.uuid4().hex[:8]}"
        self._project = [*self._compose, "-p", name, "-f", str(FILE)]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "STEPCODER_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "HEAD_PORT": "0",
        }
        try:
            self.compose("up", "-d")
            published = self.compose("port", "head", "8265").strip().rpartition(":")[2]
            self.environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{published}"
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.compose("down", "--volumes", "--timeout", "20")

    def compose(self, *arguments: str) -> str:
        return self._run(*self._project, *arguments)

    def ray(self, *arguments: str) -> str:
        """One `ray` command of this machine, which is no node of the cluster."""
        return self._run("ray", *arguments)

    def in_head(self, *command: str) -> str:
        """One command in the head's container."""
        return self.compose("exec", "-T", "-e", "RAY_ADDRESS=127.0.0.1:6379", "head", *command)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def follow(self, job: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["ray", "job", "logs", "--follow", job],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def listed(self, what: str, state: str) -> list[dict[str, Any]]:
        """`ray list WHAT` of those in the state."""
        output = self.ray("list", what, "--filter", f"state={state}", "--detail", "--format=json")
        if "No resource in the cluster" in output:
            return []
        found: list[dict[str, Any]] = json.loads(output[output.index("[") :])
        return found

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}"
        return done.stdout


def _compose() -> list[str]:
    """The plugin, or Debian's program."""
    if shutil.which("docker") is None:
        pytest.skip("no docker command")
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.skip("neither Docker's compose plugin nor Debian's docker-compose is installed")
    return ["docker-compose"]


def _needed(image: str) -> None:
    name = f"stepcoder-{image}:latest"
    there = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False)
    if there.returncode != 0:
        pytest.skip(f"no image {name}: `make images` makes it")
