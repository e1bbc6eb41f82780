"""A `stepcoder sandbox serve` of a test's own, and one request to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from commands import REPOSITORY

TOKEN = "a-token-for-these-tests"
DOUBLES = {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}
RIGHT = "print(2 * int(input()))"


@dataclass
class Served:
    process: subprocess.Popen[str]
    url: str
    shown: dict[str, str]
    """What it said before it served: the token that it made."""

    def send(self, path: str, body: Any = None, token: str | None = TOKEN) -> tuple[int, Any]:
        """Status and answer; a body that is bytes is sent as it is."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, _content(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _content(error.read())

    def judge(self, source: str, **more: Any) -> tuple[int, Any]:
        return self.send("/v1/judge", {"source": source, "tests": DOUBLES} | more)

    def end(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit code, and what it said after its first lines."""
        self.process.send_signal(by)
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said


def _content(read: bytes) -> Any:
    try:
        return json.loads(read)
    except ValueError:
        return read.decode()


@contextlib.contextmanager
def served(*options: str, token: str | None = TOKEN) -> Iterator[Served]:
    """Start the command on a free port; end it where the test did not."""
    command = [sys.executable, "-W", "ignore", "-m", "stepcoder_dist", "sandbox", "serve"]
    environment = {k: v for k, v in os.environ.items() if k != "STEPCODER_SANDBOX_TOKEN"}
    if token:
        environment["STEPCODER_SANDBOX_TOKEN"] = token
    process = subprocess.Popen(
        [*command, "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"serving on (http://\S+?),", line):
                break
        assert found, "".join(lines)
        shown = re.findall(r"^(token), shown once: (\S+)", "".join(lines), re.MULTILINE)
        yield Served(process, found[1], dict(shown))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
