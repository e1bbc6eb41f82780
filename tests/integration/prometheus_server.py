"""A real Prometheus that scrapes one endpoint, ended by its id."""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ray_head import free_ports


class Prometheus:
    """`prometheus` over `target` (host:port), with the rules of `rules`; a context manager."""

    def __init__(self, target: str, rules: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="prometheus-")
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        settings = {
            "global": {"scrape_interval": "3s", "evaluation_interval": "3s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": [target]}]}],
        }
        file = Path(self._folder.name, "prometheus.yml")
        file.write_text(json.dumps(settings))  # JSON is YAML
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={self._folder.name}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "Server is ready to receive web requests" in line:
                return
        raise AssertionError("Prometheus did not start")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)
        self._folder.cleanup()

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The samples that an instant query has now. Raises for one that Prometheus refuses."""
        question = urllib.parse.urlencode({"query": promql})
        return self._ask(f"/api/v1/query?{question}")["result"]

    def rules(self) -> dict[str, str]:
        """The health of each alert rule, by name."""
        groups = self._ask("/api/v1/rules")["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path) as answer:
            return json.load(answer)["data"]
