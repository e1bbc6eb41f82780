# ruff: noqa: E501 - programs
"""Guests that somebody else started: what they are confined by, how they come back, what is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_containers import LISTENER, guests
from hostile_corpus import CONFIG, CORPUS, SECRET, SLOW
from printed import printed
from sandbox_cases import stdin_tests
from script_cases import DOUBLES, FINDS_THE_SCRIPT
from test_confinement import FORBIDDEN, FROM_INSIDE

from sandbox.attached.attached_pool import AttachedPool, check
from sandbox.backend import choose
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, Verdict

PLACES = 2
ALL = CORPUS | {f"finds the script {n}": (s, DOUBLES) for n, s in FINDS_THE_SCRIPT.items()}
LOOKING = """
import os
folders = ("/tmp", "/dev/shm", "/guest")
left = [n for d in folders for n in os.listdir(d)]
others = [p for p in os.listdir("/proc") if p.isdigit() and p not in ("1", str(os.getpid()))]
print(left, others, len(os.listdir("/proc/self/fd")))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxConfig]:
    with guests(tmp_path_factory.mktemp("guests"), PLACES) as sockets:
        changes = {"backend": "attached", "sockets": sockets, "containers": PLACES}
        yield CONFIG.model_copy(update=changes | {"engine_wait_s": 60.0})


@contextlib.contextmanager
def guest_of_this_python(folder: Path) -> Iterator[Path]:
    """A listener as process 1 of a namespace, with the Python of the tests."""
    folder.mkdir()
    path = folder / "guest.sock"
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        sys.executable,
        str(LISTENER),
        str(path),
    ]
    with subprocess.Popen(command) as process:
        try:
            yield path
        finally:
            process.kill()


def judged(config: SandboxConfig, *programs) -> tuple[list[Verdict], AttachedPool]:
    async def all_of_them() -> list[Verdict]:
        async with pool:
            judging = (pool.judge(s, t, problem_id=str(i)) for i, (s, t) in enumerate(programs))
            return await asyncio.gather(*judging)

    pool = AttachedPool(config)
    return asyncio.run(all_of_them()), pool


@pytest.mark.docker
def test_every_forbidden_call_is_refused_and_every_socket_but_pairs(config):
    choose(config)
    worker = AttachedPool(config).attach()
    numbers = {name: int(n) for name, n in (pair.split(":") for pair in FORBIDDEN.split())}
    try:
        told = json.loads(
            printed(
                worker,
                FROM_INSIDE
                + f"told = {{'calls': sorted({{errno(c) for c in {list(numbers.values())!r}}})}}\n"
                "told['sockets'] = sorted({refused(lambda: socket.socket(f, k)) for f in range(1, 46) for k in (1, 2, 3, 5)})\n"
                "told['pair'] = refused(lambda: [s.close() for s in socket.socketpair()])\n"
                "status = dict(l.split(':\\t', 1) for l in read('/proc/self/status').splitlines() if ':\\t' in l)\n"
                "told |= {n: int(status[n], 16) for n in ('CapPrm', 'CapEff', 'NoNewPrivs')}\n"
                "told['zygote'] = [read(f'/proc/1/{n}') for n in ('environ', 'maps', 'mem')]\n"
                "told['limits'] = refused(lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)))\n"
                "print(json.dumps(told))\n",
                config.limits,
            )
        )
    finally:
        worker.close()
    assert told == {
        "calls": [1],
        "sockets": [1],
        "pair": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "NoNewPrivs": 1,
        "zygote": [13] * 3,
        "limits": 1,
    }


@pytest.mark.docker
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(sorted(ALL.keys() - SLOW), id="quick"),
        pytest.param(sorted(SLOW), id="slow", marks=pytest.mark.long),
    ],
)
def test_no_hostile_program_passes_or_leaves_anything(config, names):
    looking = [(LOOKING, SECRET)] * PLACES
    before, _ = judged(config, *looking)
    verdicts, pool = judged(config, *(ALL[name] for name in names))
    shown = dict(zip(names, verdicts, strict=True))
    assert [n for n, v in shown.items() if v.outcome is Outcome.PASSED or v.tests_passed] == []
    assert pool.stats.faults == 0
    after, _ = judged(config, *looking)
    assert "got '[] [] " in before[0].detail
    assert {v.detail for v in after} == {v.detail for v in before}


@pytest.mark.docker
def test_a_guest_that_ends_is_started_again_by_its_supervisor_and_taken_again(config):
    async def ended_meanwhile() -> tuple[Verdict, Verdict]:
        one = config.model_copy(update={"containers": 1})
        async with AttachedPool(one) as pool:
            tests = stdin_tests(("", "1"))
            first = await pool.judge("print(1)\n", tests, problem_id="one")
            (seat,) = pool._seats
            place = Path(seat._worker.path).parent.name
            os.kill(main_process(place, Path(config.sockets).parent.parent), signal.SIGKILL)
            return first, await pool.judge("print(1)\n", tests, problem_id="one")

    assert [v.outcome for v in asyncio.run(ended_meanwhile())] == [Outcome.PASSED] * 2


def main_process(place: str, folder: Path) -> int:
    """Of the container that has this place's folder."""
    listed = ["docker", "ps", "-q", "--filter", f"volume={folder / place}"]
    container = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.strip()
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
    return int(subprocess.run(inspect, capture_output=True, text=True, check=True).stdout)


def test_a_socket_that_nobody_serves_is_told_in_one_line(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
        config = SandboxConfig(backend="attached", sockets=f"{tmp_path}/*.sock", engine_wait_s=0.01)
        with pytest.raises(MissingEngine, match="nobody serves a free socket that matches") as told:
            choose(config)
    assert "\n" not in str(told.value)


def test_sockets_have_to_be_named():
    with pytest.raises(MissingEngine, match=r"needs sandbox\.sockets, where the guests listen"):
        choose(SandboxConfig(backend="attached"))


def test_who_is_no_guest_is_not_taken_for_one(tmp_path):
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)

        def answer() -> None:
            accepted, _ = server.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(MissingEngine, match="nobody serves a free socket"):
            check(SandboxConfig(backend="attached", sockets=str(path)))
        thread.join()


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="a namespace of processes needs root",
)


@needs_namespaces
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python is new enough for a guest")
def test_a_guest_of_another_python_is_told_in_one_line(tmp_path):
    with guest_of_this_python(tmp_path / "guest") as path:
        config = SandboxConfig(backend="attached", sockets=str(path), engine_wait_s=30)
        with pytest.raises(
            MissingEngine, match=r"has Python 3\.11\.\d+; give its container an image"
        ):
            choose(config)


@needs_namespaces
@pytest.mark.parametrize(
    ("first", "said"),
    [
        ([], "this is process"),
        (["unshare", "--pid", "--fork"], "give each guest a folder of its own"),
    ],
)
def test_a_guest_that_cannot_keep_its_promises_does_not_start(tmp_path, first, said):
    if first:
        (tmp_path / "other.sock").touch()
    command = [*first, sys.executable, str(LISTENER), str(tmp_path / "guest.sock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert said in line


def test_a_worker_without_a_guest_holds_nobody_up(tmp_path):
    config = SandboxConfig(backend="attached", sockets=f"{tmp_path}/*", engine_wait_s=3600)

    async def closed_while_waiting() -> None:
        pool = AttachedPool(config)
        starting = asyncio.ensure_future(pool.start())
        await asyncio.sleep(0)  # it has begun
        await pool.close()
        with pytest.raises(Exception, match="the sandbox"):
            await starting

    asyncio.run(asyncio.wait_for(closed_while_waiting(), 60))
