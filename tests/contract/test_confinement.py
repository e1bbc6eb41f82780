# ruff: noqa: E501 - programs
"""A container as a program finds it: every call that is forbidden, every flag, every limit."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from printed import printed

from sandbox.confinement.bounds import CAPABILITIES, FOLDERS
from sandbox.containers.container import Container, check_image, connect
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.errors import MissingEngine, SandboxFault

pytestmark = pytest.mark.docker

CONFIG = SandboxConfig(cpu_limit_s=5.0, wall_limit_s=20.0, memory_limit_mib=128)

FORBIDDEN = """
acct:163 add_key:248 adjtimex:159 bpf:321 chroot:161 clock_adjtime:305 clock_settime:227
create_module:174 delete_module:176 fanotify_init:300 fanotify_mark:301 finit_module:313
fsconfig:431 fsmount:432 fsopen:430 fspick:433 get_mempolicy:239 init_module:175
io_cancel:210 io_destroy:207 io_getevents:208 io_setup:206 io_submit:209 io_uring_enter:426
io_uring_register:427 io_uring_setup:425 ioperm:173 iopl:172 ioprio_set:251 kcmp:312
kexec_file_load:320 kexec_load:246 keyctl:250 landlock_create_ruleset:444 lookup_dcookie:212
mbind:237 memfd_secret:447 migrate_pages:256 mknod:133 mknodat:259 mlockall:151 modify_ldt:154
mount:165 mount_setattr:442 move_mount:429 move_pages:279 mq_getsetattr:245 mq_notify:244
mq_open:240 mq_timedreceive:243 mq_timedsend:242 mq_unlink:241 msgctl:71 msgget:68 msgrcv:70
msgsnd:69 name_to_handle_at:303 open_by_handle_at:304 open_tree:428 perf_event_open:298
pidfd_getfd:438 pivot_root:155 pkey_alloc:330 pkey_mprotect:329 process_madvise:440
process_mrelease:448 process_vm_readv:310 process_vm_writev:311 ptrace:101 quotactl:179
quotactl_fd:443 reboot:169 removexattr:197 remap_file_pages:216 request_key:249 seccomp:317
semctl:66 semget:64 semop:65 semtimedop:220 set_mempolicy:238 setdomainname:171
sethostname:170 setns:308 settimeofday:164 setxattr:188 shmat:30 shmctl:31 shmdt:67 shmget:29
swapoff:168 swapon:167 sysfs:139 syslog:103 umount2:166 unshare:272 userfaultfd:323 ustat:136
uselib:134 vhangup:153
"""
"""x86-64 numbers of what a program gets EPERM for, whoever asks."""

FROM_INSIDE = """
import ctypes, json, os, resource, socket
libc = ctypes.CDLL(None, use_errno=True)
def errno(number, *arguments):
    ctypes.set_errno(0)
    return 0 if libc.syscall(number, *(arguments or (0,) * 6)) >= 0 else ctypes.get_errno()
def refused(call):
    try:
        call()
    except OSError as error:
        return error.errno
    return 0
def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError as error:
        return error.errno
"""


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    try:
        client = connect()
        check_image(client, CONFIG.image)
    except MissingEngine as error:
        pytest.skip(str(error))
    made = Container(client, CONFIG.image, CONFIG.limits)
    yield made
    made.close()
    client.close()


@pytest.fixture
def tell(container: Container) -> Callable[[str], Any]:
    """Runs a program in the container and returns the JSON that it prints."""

    def tell(source: str) -> Any:
        return json.loads(printed(container, FROM_INSIDE + source, CONFIG.limits))

    return tell


def test_no_forbidden_call_is_in_the_profile():
    text = resources.files("sandbox").joinpath("seccomp.json").read_text(encoding="utf-8")
    profile = json.loads(text)
    allowed = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW"
        for name in rule["names"]
    }
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not allowed & {pair.split(":")[0] for pair in FORBIDDEN.split()}
    # no second set of system calls, whose names and arguments the rules were not written for
    assert [arch["subArchitectures"] for arch in profile["archMap"]] == [[], []]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of another processor")
def test_every_forbidden_call_is_refused(tell):
    numbers = {name: int(n) for name, n in (pair.split(":") for pair in FORBIDDEN.split())}
    told = tell(f"print(json.dumps({{n: errno(c) for n, c in {numbers!r}.items()}}))\n")
    assert told == dict.fromkeys(numbers, 1)
    told = tell(
        "print(json.dumps({\n"
        "    'clone3': errno(435), 'new user namespace': errno(56, 0x10000000 | 17, 0, 0, 0, 0),\n"
        "    'new network': errno(56, 0x40000000 | 17, 0, 0, 0, 0),\n"
        "    'personality': errno(135, 0x0040000),\n"
        "}))\n"
    )
    assert told == {
        "clone3": 38,  # as on a kernel that has none: libc then takes clone
        "new user namespace": 1,
        "new network": 1,
        "personality": 1,
    }


def test_a_program_is_nobody_and_can_become_nobody_else(tell):
    told = tell(
        "status = dict(l.split(':\\t', 1) for l in read('/proc/self/status').splitlines() if ':\\t' in l)\n"
        "told = {n: status[n].strip() for n in ('Groups', 'NoNewPrivs', 'Seccomp')}\n"
        "told |= {n: int(status[n], 16) for n in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')}\n"
        "told['bound'] = bin(int(status['CapBnd'], 16)).count('1')\n"
        "told['users'] = len(set(status['Uid'].split() + status['Gid'].split())), os.getuid() >= 200000\n"
        "told['becomes'] = [refused(c) for c in (lambda: os.setuid(0), lambda: os.setgid(0),\n"
        "    lambda: os.setgroups([0]), lambda: os.setresuid(-1, 0, -1), lambda: os.kill(1, 0),\n"
        "    lambda: os.chown('/tmp', os.getuid(), -1))]\n"
        "told['processes'] = [read(f'/proc/1/{n}') for n in ('environ', 'maps', 'stack', 'mem')]\n"
        "print(json.dumps(told))\n"
    )
    assert told == {
        "Groups": "",
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapAmb": 0,
        "bound": len(CAPABILITIES),
        "users": [1, True],
        "becomes": [1] * 6,
        "processes": [13] * 4,
    }


def test_nothing_but_the_sized_folders_can_be_written(tell):
    told = tell(
        "mounts = [l.split() for l in read('/proc/self/mountinfo').splitlines()]\n"
        "told = {'root': [m[5].split(',')[0] for m in mounts if m[4] == '/']}\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    (options,) = [m[5].split(',') for m in mounts if m[4] == folder]\n"
        "    size = os.statvfs(folder)\n"
        "    told[folder] = [o for o in ('rw', 'nosuid', 'nodev', 'noexec') if o in options]\n"
        "    told[folder] += [size.f_blocks * size.f_frsize >> 20, size.f_files]\n"
        "writable = []\n"
        "for top, folders, files in os.walk('/'):\n"
        "    if top in ('/tmp', '/dev/shm', '/proc', '/sys'):\n"
        "        folders.clear()\n"
        "        continue\n"
        "    writable += [p for p in [top] if os.access(p, os.W_OK)]\n"
        "    files = [os.path.join(top, n) for n in files]\n"
        "    writable += [p for p in files if not os.path.islink(p) and os.access(p, os.W_OK)]\n"
        "told['writable'] = sorted(p for p in writable if not p.startswith('/dev/'))\n"
        "told['kernel'] = [refused(lambda: open(p, 'w')) for p in ('/proc/sys/kernel/core_pattern',\n"
        "    '/proc/sys/vm/drop_caches', '/proc/sysrq-trigger', '/sys/fs/cgroup/cgroup.procs')]\n"
        "told['masked'] = [read(p) for p in ('/proc/kcore', '/proc/keys', '/proc/timer_list')]\n"
        "print(json.dumps(told))\n"
    )
    assert all(told.pop("kernel"))
    assert not any(isinstance(text, str) and text for text in told.pop("masked"))
    sized = {path: ["rw", "nosuid", "nodev", "noexec", *size] for path, size in FOLDERS.items()}
    assert told == {"root": ["ro"], "writable": [], **sized}


def test_namespaces_are_its_own_and_there_is_no_network(tell):
    told = tell(
        "told = {n: os.readlink(f'/proc/self/ns/{n}') for n in ('ipc', 'mnt', 'net', 'pid', 'uts')}\n"
        "told['interfaces'] = os.listdir('/sys/class/net')\n"
        "told['routes'] = read('/proc/net/route').splitlines()[1:]\n"
        "s = socket.socket()\n"
        "told['connect'] = refused(lambda: s.connect(('1.1.1.1', 53)))\n"
        "told['families'] = [n for n in range(1, 46) if not refused(lambda: socket.socket(n, 2))]\n"
        "told['raw'] = [refused(lambda: socket.socket(n, 3, 1)) for n in (2, 10)]\n"
        "told['engine'] = [p for p in ('/var/run/docker.sock', '/run/docker.sock') if os.path.exists(p)]\n"
        "told['shared memory'] = read('/proc/sysvipc/shm').splitlines()[1:]\n"
        "print(json.dumps(told))\n"
    )
    for name in ("ipc", "mnt", "net", "pid", "uts"):
        assert told.pop(name) != str(Path(f"/proc/self/ns/{name}").readlink())
    assert set(told.pop("interfaces")) <= {"lo"}
    assert told == {
        "routes": [],
        "connect": 101,
        "families": [1, 2, 10],
        "raw": [1, 1],
        "engine": [],
        "shared memory": [],
    }


def test_sockets_speak_no_protocol_that_the_kernel_would_load_a_module_for(tell):
    told = tell(
        "kinds = [(f, k, p) for f in (1, 2, 10) for k in range(1, 7) for p in (0, 1, 6, 17, 33, 58, 115, 132, 136, 262)]\n"
        "print(json.dumps([k for k in kinds if k[0] != 1 and not refused(lambda: socket.socket(*k).close())]))\n"
    )
    streams_and_datagrams = [[1, 0], [1, 6], [2, 0], [2, 17]]
    assert told == [[family, *rest] for family in (2, 10) for rest in streams_and_datagrams]


def test_what_reaches_the_disks_and_the_page_cache_of_the_machine_is_not_done(tell):
    # a file that is not open would be refused if anybody looked
    told = tell(
        "print(json.dumps([errno(n, 999, 0, 0, 4) for n in (162, 187, 221)]))  # sync, readahead, fadvise64\n"
    )
    assert told == [0, 0, 0]


def test_processes_files_and_memory_are_limited(tell):
    told = tell(
        "names = ('CORE', 'NPROC', 'MEMLOCK', 'MSGQUEUE', 'FSIZE')\n"
        "told = {n: resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in names}\n"
        "groups = ('/sys/fs/cgroup/pids.max', '/sys/fs/cgroup/pids/pids.max')\n"
        "told['pids'] = [int(t) for t in map(read, groups) if isinstance(t, str)]\n"
        "groups = ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes')\n"
        "told['memory'] = [int(t) >> 20 for t in map(read, groups) if isinstance(t, str)]\n"
        "told['oom'] = read('/proc/self/oom_score_adj')\n"
        "told['raised'] = []\n"
        "for which in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA):\n"
        "    try:\n"
        "        resource.setrlimit(which, (2**50, 2**50))\n"
        "        told['raised'].append(which)\n"
        "    except ValueError:\n"
        "        pass\n"
        "told['forked'] = 0\n"
        "try:\n"
        "    while told['forked'] < 500:\n"
        "        if os.fork() == 0:\n"
        "            libc.pause()\n"
        "        told['forked'] += 1\n"
        "except BlockingIOError:\n"
        "    pass\n"
        "print(json.dumps(told))\n"
    )
    output = CONFIG.limits.output_bytes + 1
    assert told.pop("forked") < CONFIG.processes
    assert told.pop("memory") == [128 + 16 + 128]
    assert told == {
        "CORE": [0, 0],
        "NPROC": [CONFIG.processes] * 2,
        "MEMLOCK": [0, 0],
        "MSGQUEUE": [0, 0],
        "FSIZE": [output, output],
        "pids": [CONFIG.processes + 8],
        "oom": "1000",
        "raised": [],
    }


@pytest.mark.usefixtures("container")
def test_an_engine_that_refuses_a_kernel_setting_starts_the_container_without_it():
    client = connect()
    refused = {"net.ipv4.no_such_setting": "0"}
    made = Container(client, CONFIG.image, CONFIG.limits, sysctls=refused)
    try:
        assert printed(made, "print(1 + 1)", CONFIG.limits) == "2\n"
        assert len(client.containers.list(all=True, filters={"name": made.name})) == 1
        assert made.sysctls == {}
    finally:
        made.close()
        client.close()


@pytest.mark.usefixtures("container")
def test_the_engine_is_asked_for_the_runtime_that_the_run_file_names():
    client = connect()
    try:
        with pytest.raises(SandboxFault, match=r"[Uu]nknown runtime specified no-such-runtime"):
            Container(client, CONFIG.image, CONFIG.limits, runtime="no-such-runtime")
    finally:
        client.close()
