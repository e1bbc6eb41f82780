"""Every hostile program with tests that it must not pass, and what is looked for after it."""

from __future__ import annotations

from hostile_interpreter import FORGED_ANSWERS, FORGERS, answering
from hostile_programs import HOSTILE, HOSTILE_VALUES
from hostile_system import SYSTEM
from sandbox_cases import call_tests, stdin_tests
from script_cases import HOSTILE_SCRIPTED

from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import TestSuite

SECRET = stdin_tests(("1 2 3\n", "SECRET-4f9a21\n"))
TWO_ITEMS = call_tests("f", ([0], [1, 2]))

CORPUS: dict[str, tuple[str, TestSuite]] = {
    **{name: (source, SECRET) for name, source in (HOSTILE | FORGERS | SYSTEM).items()},
    **{f"returns: {name}": (source, TWO_ITEMS) for name, source in HOSTILE_VALUES.items()},
    **{f"answers: {name}": (answering(d), TWO_ITEMS) for name, d in FORGED_ANSWERS.items()},
    **{f"script: {name}": attack for name, attack in HOSTILE_SCRIPTED.items()},
}
"""Finding a script's text has a test of its own (`FINDS_THE_SCRIPT`)."""

NEEDS_A_CONTAINER = {
    "leaves shared memory",
    "fills the disk",
    "fills the inodes",
    "digs a deep folder",
    "locks its files away",
    "leaves a daemon",
    "fork bomb",
    "thread bomb",
    "memory bomb in many processes",
    "signals everything",
    "opens sockets",
}
"""They write outside of their folder, or need a limit that only a container has."""

SLOW = {
    "alarms without end",
    "an integer without end",
    "ends its main thread and goes on",
    "ignores every signal",
    "keeps its memory in pipes",
    "keeps its memory in sockets",
    "a source of many lines",
    "says that it is done and goes on",
    "script: an endless answer",
    "script: patched builtins",
    "takes back the mark by which the kernel prefers it",
    "thread bomb",
}
"""They run into a limit as others do: for the long suite."""

LOOKING = """
import fcntl, os, random, sys, time
null = open("/dev/null")
for pause in (0.01, 0.1, 0.5, None):  # bubblewrap's places share the machine's, and look together
    try:
        fcntl.flock(null, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        if pause is None:
            raise
        time.sleep(pause)
flags = fcntl.fcntl(2, fcntl.F_GETFL) & (os.O_APPEND | os.O_NONBLOCK)
left = [n for d in ("/tmp", "/dev/shm") for n in os.listdir(d)]
own = ("1", str(os.getpid()))
others = [p for p in os.listdir("/proc") if p.isdigit() and p not in own]
sockets = [line for n in ("unix", "tcp", "tcp6") for line in list(open(f"/proc/net/{n}"))[1:]]
open_files = len(os.listdir("/proc/self/fd"))
print(left, others, sockets, flags, random.__file__.startswith("/tmp"), open_files)
"""


CONFIG = SandboxConfig(
    containers=1,
    cpu_limit_s=0.3,
    wall_limit_s=1.2,
    memory_limit_mib=128,
    output_limit_mib=1,
    attempts=2,
)
