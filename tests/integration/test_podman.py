"""Podman's engine under Docker's API: the same containers, judged and attacked."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.backend import open_pool
from stepcoder_dist.records import Outcome, Verdict

sys.path.insert(0, str(Path(__file__).parent.parent / "contract"))
from hostile_corpus import CORPUS, SLOW
from sandbox_cases import ONE, OUTCOMES

pytestmark = [pytest.mark.docker, pytest.mark.long]

IMAGE = "stepcoder-sandbox:latest"
CONFIG = {"containers": 2, "cpu_limit_s": 0.5, "wall_limit_s": 2, "memory_limit_mib": 128}
CONFIG |= {"output_limit_mib": 1, "attempts": 2}


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of its own, with the sandbox's image; its address."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    folder = tmp_path_factory.mktemp("podman")
    command = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
    saved = folder / "image.tar"
    subprocess.run(["docker", "save", "--output", str(saved), IMAGE], check=True)
    subprocess.run([*command, "load", "--quiet", "--input", str(saved)], check=True)
    socket = folder / "podman.sock"
    service = [*command, "system", "service", "--time=0", f"unix://{socket}"]
    with subprocess.Popen(service, stderr=subprocess.DEVNULL) as process:
        try:
            while not socket.exists():
                assert process.poll() is None
                time.sleep(0.05)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()
            subprocess.run([*command, "rm", "--all", "--force"], check=True, capture_output=True)
            subprocess.run([*command, "rmi", "--all", "--force"], check=True, capture_output=True)


def judged(programs) -> tuple[list[Verdict], int]:
    async def all_of_them() -> tuple[list[Verdict], int]:
        async with open_pool(image=IMAGE, **CONFIG) as pool:
            judging = (pool.judge(s, t, problem_id=str(i)) for i, (s, t) in enumerate(programs))
            return await asyncio.gather(*judging), pool.stats.faults

    return asyncio.run(all_of_them())


def test_every_outcome_is_told_and_no_hostile_program_passes(podman, monkeypatch):
    monkeypatch.setitem(os.environ, "DOCKER_HOST", podman)
    verdicts, faults = judged([(source, ONE) for source, _ in OUTCOMES.values()])
    assert {n: v.outcome for n, v in zip(OUTCOMES, verdicts, strict=True)} == {
        name: outcome for name, (_, outcome) in OUTCOMES.items()
    }
    assert faults == 0
    names = sorted(CORPUS.keys() - SLOW)
    verdicts, _ = judged([CORPUS[name] for name in names])
    shown = dict(zip(names, verdicts, strict=True))
    assert [n for n, v in shown.items() if v.outcome is Outcome.PASSED or v.tests_passed] == []
