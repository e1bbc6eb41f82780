"""A container from inside and from outside: flags, faults, orphans."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandbox.containers.container import check_image, connect
from sandbox.containers.container_pool import ContainerPool
from sandbox.containers.orphans import EXPIRES_LABEL, OWNER_LABEL, RUN_LABEL, owner, reap_orphans
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite

pytestmark = pytest.mark.docker
IMAGE = SandboxConfig().image
ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    try:
        client = connect()
        check_image(client, IMAGE)
    except MissingEngine as error:
        pytest.skip(str(error))
    yield client
    client.close()


def seen_from_inside(source: str) -> str:
    """What a program prints."""
    suite = TestSuite(inputs=("",), outputs=("never",))

    async def run() -> str:
        async with ContainerPool(SandboxConfig(containers=1)) as pool:
            verdict = await pool.judge(source, suite, problem_id="seen")
            return verdict.detail

    return asyncio.run(run())


@pytest.mark.usefixtures("engine")
def test_from_inside_nothing_is_allowed():
    source = textwrap.dedent("""
        import ctypes, ctypes.util, errno, os, socket
        seen = []
        def fails(name, call):
            try:
                call()
            except OSError as error:
                return
            except BaseException as error:
                return
            seen.append(name)
        status = open('/proc/self/status').read()
        def field(name):
            return [l.split()[1] for l in status.splitlines() if l.startswith(name)][0]
        for name in ('CapPrm', 'CapEff', 'CapInh', 'CapAmb'):
            if int(field(name), 16): seen.append(name)
        if field('NoNewPrivs') != '1': seen.append('new privileges')
        if field('Seccomp') != '2': seen.append('no seccomp')
        if os.getuid() == 0 or os.getgroups(): seen.append('user')
        fails('write root', lambda: open('/file', 'w'))
        fails('write etc', lambda: open('/etc/file', 'w'))
        fails('write dev', lambda: open('/dev/file', 'w'))
        fails('raw socket', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
        fails('netlink', lambda: socket.socket(16, socket.SOCK_RAW))
        fails('packet', lambda: socket.socket(17, socket.SOCK_RAW))
        fails('alg', lambda: socket.socket(38, socket.SOCK_SEQPACKET))
        fails('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))
        fails('unshare', lambda: os.unshare(0x10000000))
        def run_from_tmp():
            open('/tmp/x', 'w').write('#!/bin/sh')
            os.chmod('/tmp/x', 0o755)
            os.execv('/tmp/x', ['x'])
        fails('run from tmp', run_from_tmp)
        if [i for i in os.listdir('/sys/class/net') if i != 'lo']: seen.append('network')
        if open('/proc/self/oom_score_adj').read().strip() != '1000': seen.append('oom score')
        libc = ctypes.CDLL(None, use_errno=True)
        calls = dict(io_uring_setup=425, ptrace=101, bpf=321, keyctl=250, add_key=248,
                     userfaultfd=323, perf_event_open=298, process_vm_readv=310, mount=165,
                     setns=308, shmget=29, semget=64, msgget=68, mq_open=240, kexec_load=246,
                     init_module=175, clone3=435, open_by_handle_at=304, name_to_handle_at=303,
                     pivot_root=155, chroot=161, swapon=167, reboot=169, quotactl=179)
        for name, number in calls.items():
            ctypes.set_errno(0)
            if libc.syscall(number, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() not in (1, 38):
                seen.append(f'{name}:{ctypes.get_errno()}')
        print('allowed:', *seen)
        """)
    assert seen_from_inside(source) == "test 1: expected 'never', got 'allowed:\\n'"


def test_a_killed_container_costs_a_try_and_no_verdict(engine):
    suite = TestSuite(inputs=("1",), outputs=("1",))

    async def run() -> None:
        async with ContainerPool(SandboxConfig(containers=1)) as pool:
            judging = asyncio.ensure_future(
                pool.judge("import time\ntime.sleep(1)\nprint(1)\n", suite, problem_id="one")
            )
            await asyncio.sleep(0.4)
            name = pool._seats[0]._worker.name
            await asyncio.to_thread(engine.containers.get(name).kill)
            assert (await judging).outcome is Outcome.PASSED
            assert (pool.stats.verdicts, pool.stats.faults) == (1, 1)
            idle = pool._seats[0]._worker.name
            await asyncio.to_thread(engine.containers.get(idle).kill)
            assert (
                await pool.judge("print(1)\n", suite, problem_id="one")
            ).outcome is Outcome.PASSED
            assert (pool.stats.verdicts, pool.stats.faults) == (2, 1)

    asyncio.run(run())


def test_containers_end_with_the_process_that_owns_them(engine):
    script = textwrap.dedent("""
        import asyncio, os, signal
        from sandbox.containers.container_pool import ContainerPool
        from stepcoder_dist.config import SandboxConfig
        async def run():
            pool = ContainerPool(SandboxConfig(containers=2))
            await pool.start()
            print(*(seat._worker.name for seat in pool._seats), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(run())
        """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    names = set(done.stdout.split())
    assert len(names) == 2, done.stderr
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not names & {c.name for c in engine.containers.list(all=True, ignore_removed=True)}:
            return
        time.sleep(0.1)
    pytest.fail("the containers outlived their owner")


def test_only_orphans_are_reaped(engine):
    labels = {
        "orphan": {OWNER_LABEL: owner().rpartition(":")[0] + ":1"},
        "expired": {OWNER_LABEL: "another-host:1:1", EXPIRES_LABEL: "1"},
        "ours": {OWNER_LABEL: owner()},
        "ours, for days": {OWNER_LABEL: owner(), EXPIRES_LABEL: "1"},
        "elsewhere": {OWNER_LABEL: "another-host:1:1"},
        "stranger": {},
    }
    made = {
        name: engine.containers.create(
            IMAGE,
            ["true"],
            labels={RUN_LABEL: "test", EXPIRES_LABEL: str(int(time.time()) + 600), **own},
        )
        for name, own in labels.items()
    }
    try:
        assert reap_orphans(engine) >= 2
        left = {c.id for c in engine.containers.list(all=True, ignore_removed=True)}
        assert {name for name, c in made.items() if c.id in left} == {
            "ours",
            "ours, for days",
            "elsewhere",
            "stranger",
        }
    finally:
        for container in engine.containers.list(
            all=True, filters={"label": f"{RUN_LABEL}=test"}, ignore_removed=True
        ):
            container.remove(force=True)
