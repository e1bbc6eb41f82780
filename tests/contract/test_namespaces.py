# ruff: noqa: E501 - programs
"""What bubblewrap makes, as a program finds it; and what is said where bubblewrap does not work."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_corpus import CORPUS
from hostile_programs import HOSTILE
from printed import printed
from test_confinement import FORBIDDEN, FROM_INSIDE

from sandbox.backend import choose
from sandbox.bubblewrap.bubblewrap_pool import BubblewrapWorker, check
from sandbox.judging import judge
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome

pytestmark = pytest.mark.bubblewrap

CONFIG = SandboxConfig(cpu_limit_s=5.0, wall_limit_s=20.0, memory_limit_mib=128)


@pytest.fixture(scope="module", params=["users of their own", "one user for all"])
def place(request: pytest.FixtureRequest) -> Iterator[BubblewrapWorker]:
    alone = request.param == "one user for all"
    try:
        check(None, alone=alone)
    except MissingEngine as error:
        pytest.skip(str(error))
    made = BubblewrapWorker(CONFIG.limits, alone=alone)
    yield made
    made.close()


@pytest.fixture
def tell(place: BubblewrapWorker) -> Callable[[str], Any]:
    return lambda source: json.loads(printed(place, FROM_INSIDE + source, CONFIG.limits))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of another processor")
def test_every_forbidden_call_is_refused(tell):
    numbers = {name: int(n) for name, n in (pair.split(":") for pair in FORBIDDEN.split())}
    told = tell(f"print(json.dumps({{n: errno(c) for n, c in {numbers!r}.items()}}))\n")
    assert told == dict.fromkeys(numbers, 1)


def test_a_program_has_no_capability_and_reaches_nobody(tell):
    told = tell(
        "status = dict(l.split(':\\t', 1) for l in read('/proc/self/status').splitlines() if ':\\t' in l)\n"
        "told = {n: int(status[n], 16) for n in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')}\n"
        "told |= {n: status[n].strip() for n in ('NoNewPrivs', 'Seccomp')}\n"
        "told['becomes'] = [refused(c) for c in (lambda: os.setgroups([0]), lambda: os.setresuid(-1, 0, -1))]\n"
        "told['zygote'] = [read(f'/proc/1/{n}') for n in ('environ', 'maps', 'mem')]\n"
        "told['limits'] = refused(lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)))\n"
        "told['others'] = [p for p in os.listdir('/proc') if p.isdigit() and p not in ('1', str(os.getpid()))]\n"
        "print(json.dumps(told))\n"
    )
    # one that does not exist here, or that it may not become
    assert set(told.pop("becomes")) <= {1, 22}
    assert told == {
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapAmb": 0,
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "zygote": [13] * 3,
        "limits": 1,
        "others": [],
    }


def test_it_sees_no_file_of_the_machines_users_and_writes_to_two_folders(tell):
    told = tell(
        "told = {'top': sorted(os.listdir('/')), 'writable': [], 'etc': os.listdir('/etc')}\n"
        "for top, folders, files in os.walk('/'):\n"
        "    if top in ('/tmp', '/dev/shm', '/dev/pts', '/proc', '/sys'):\n"
        "        folders.clear()\n"
        "        continue\n"
        "    told['writable'] += [p for p in [top] if os.access(p, os.W_OK)]\n"
        "told['sizes'] = [os.statvfs(p).f_blocks * os.statvfs(p).f_frsize >> 20 for p in ('/tmp', '/dev/shm')]\n"
        "told['kernel'] = [bool(refused(lambda: open(p, 'w'))) for p in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger')]\n"
        "print(json.dumps(told))\n"
    )
    assert set(told.pop("top")) <= {
        "bin",
        "dev",
        "etc",
        "lib",
        "lib64",
        "proc",
        "sbin",
        "sys",
        "tmp",
        "usr",
    }
    assert set(told.pop("etc")) <= {"ld.so.cache", "alternatives"}
    assert told == {"writable": [], "sizes": [64, 16], "kernel": [True, True]}


def test_namespaces_are_its_own_and_there_is_no_network(tell):
    told = tell(
        "told = {n: os.readlink(f'/proc/self/ns/{n}') for n in ('cgroup', 'ipc', 'mnt', 'net', 'pid', 'user', 'uts')}\n"
        "told['routes'] = read('/proc/net/route').splitlines()[1:]\n"
        "s = socket.socket()\n"
        "told['connect'] = refused(lambda: s.connect(('1.1.1.1', 53)))\n"
        "print(json.dumps(told))\n"
    )
    for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
        assert told.pop(name) != str(Path(f"/proc/self/ns/{name}").readlink())
    assert told == {"routes": [], "connect": 101}


def test_without_control_groups_the_zygote_ends_what_takes_too_much_memory_together(place):
    del place  # it says whether bubblewrap works here
    limits = SandboxConfig(cpu_limit_s=5.0, wall_limit_s=20.0, memory_limit_mib=64).limits
    worker = BubblewrapWorker(limits, grouped=False)
    assert "memory bomb in many processes" in HOSTILE
    try:

        def run(order, blobs, *, quiet=False):  # noqa: ARG001 - it is alone
            return worker.run(order, blobs)

        verdict = judge(run, *CORPUS["memory bomb in many processes"], limits)
        assert verdict.outcome is Outcome.OUT_OF_MEMORY
        assert worker.alive()
    finally:
        worker.close()


def test_a_place_goes_with_its_last_user_and_leaves_no_control_group():
    try:
        check(None)
    except MissingEngine as error:
        pytest.skip(str(error))
    made = BubblewrapWorker(CONFIG.limits)
    groups = made.groups.to_join if made.groups is not None else []
    assert all(Path(folder).is_dir() for folder in groups)
    made.close()
    assert not made.alive()
    assert not any(Path(folder).exists() for folder in groups)


def test_a_machine_without_bubblewrap_is_told_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingEngine, match="there is no bwrap in PATH; install it"):
        choose(SandboxConfig(backend="bubblewrap"))


def test_a_root_that_is_none_is_named(tmp_path):
    if not subprocess.run(["which", "bwrap"], capture_output=True, check=False).stdout:
        pytest.skip("bubblewrap is not installed")
    with pytest.raises(MissingEngine, match="is no root file system: there is no folder"):
        choose(SandboxConfig(backend="bubblewrap", root=str(tmp_path)))


FORBIDS_NAMESPACES = """
echo 0 > /proc/sys/user/max_user_namespaces
exec "$0" -c '
from sandbox.bubblewrap.bubblewrap_pool import check
from stepcoder_dist.errors import MissingEngine
try:
    check(None)
except MissingEngine as error:
    print(error)
'
"""


@pytest.mark.usefixtures("place")
def test_a_kernel_that_forbids_namespaces_of_users_is_told_in_one_line():
    inner = ["unshare", "--user", "--map-root-user", "sh", "-c", FORBIDS_NAMESPACES, sys.executable]
    done = subprocess.run(inner, capture_output=True, text=True, check=True, timeout=60)
    (said,) = done.stdout.splitlines()
    assert said.startswith("bubblewrap cannot make its namespaces here (")
    assert "user.max_user_namespaces" in said


@pytest.mark.docker
@pytest.mark.long
def test_programs_see_the_file_system_of_an_image_where_the_run_file_names_one(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    made = ["docker", "create", CONFIG.image, "true"]
    name = subprocess.run(made, capture_output=True, text=True, check=False).stdout.strip()
    if not name:
        pytest.skip("no engine, or no sandbox image")
    try:
        with subprocess.Popen(["docker", "export", name], stdout=subprocess.PIPE) as exported:
            untar = ["tar", "-x", "-C", str(root), "--exclude=dev/*"]
            subprocess.run(untar, stdin=exported.stdout, check=True)
    finally:
        subprocess.run(["docker", "rm", name], capture_output=True, check=True)
    tmp_path.chmod(0o755)  # a place is another user
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    check(str(root))
    worker = BubblewrapWorker(CONFIG.limits, root=str(root))
    try:
        told = printed(
            worker,
            "import os, sys\nprint(sys.version_info[:2] >= (3, 12), os.path.exists('/etc/debian_version'), os.listdir('/tmp'))\n",
            CONFIG.limits,
        )
    finally:
        worker.close()
    assert told == "True True []\n"
