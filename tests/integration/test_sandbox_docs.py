"""The snippets of docs/sandbox.md do what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY

from sandbox.backend import choose
from sandbox.pool.pool_metrics import PERCENTILES
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine

PAGE = REPOSITORY / "docs" / "sandbox.md"


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.docker
def test_the_loop_of_ones_own_runs_as_it_stands(tmp_path: Path):
    try:
        choose(SandboxConfig())
    except MissingEngine as error:
        pytest.skip(str(error))
    script = tmp_path / "loop.py"
    script.write_text(snippets("python")[0])
    ended = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert ended.stdout.splitlines() == [
        "wrong_answer 0 [1] test 1: expected '2\\n', got '1\\n'",
        "passed 2 [1] ",
        "wrong_answer 0 [1] test 1: expected '2\\n', got '3\\n'",
    ], ended.stderr


def test_the_page_names_every_metric():
    source = (REPOSITORY / "sandbox" / "pool" / "pool_metrics.py").read_text()
    named = set(re.findall(r'"stepcoder_sandbox_(\w+)"', source))
    named |= {f"latency_p{p}_ms" for p in PERCENTILES} | {"waiting", "in_flight", "executors"}
    text = PAGE.read_text()
    missing = {n for n in named if f"stepcoder_sandbox_{n}`" not in text}
    assert {n for n in missing if f"`…_{n.removeprefix('latency_')}`" not in text} == set()


def test_the_pages_tomls_are_sandbox_sections():
    import tomllib

    sections = snippets("toml")
    assert sections
    for section in sections:
        SandboxConfig.model_validate(tomllib.loads(section)["sandbox"])
