# ruff: noqa: E501 - a program a line
"""Programs that try to pass without solving anything, to stay, or to hurt: none may pass.

Each is judged against `SECRET` tests, whose expected values never enter the sandbox. `harmless`
ones end as they like; what counts is that they do not pass and that the next program is judged
right.
"""

from __future__ import annotations

HOSTILE = {
    "writes results on every descriptor": """
import os, struct, json
for fd in range(3, 300):
    for data in (b"6\\n", json.dumps({"outcome": "passed"}).encode(), b"\\x00" * 4096, b"\\x01" * 4096):
        for write in (lambda: os.write(fd, data), lambda: os.pwrite(fd, data, 0)):
            try:
                write()
            except OSError:
                pass
""",
    "finds expected values in frames": """
import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
        if isinstance(value, (list, tuple)) and "SECRET-" in repr(value):
            print(value)
    frame = frame.f_back
""",
    "finds expected values in the heap": """
import gc
for o in gc.get_objects():
    try:
        text = repr(o)
    except BaseException:
        continue
    i = text.find("SECRET-")
    if i >= 0 and "find(" not in text:
        print(text[i:i + 10])
""",
    "reads all its memory": """
import re
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        low, high = (int(x, 16) for x in line.split()[0].split("-"))
        try:
            memory.seek(low)
            found = re.search(b"SECRET-[0-9a-f]{6}", memory.read(high - low))
        except (OSError, ValueError, OverflowError):
            continue
        if found:
            print(found.group().decode())
""",
    "reads the parent's memory and files": """
import os
for pid in (os.getppid(), 1):
    for name in ("mem", "environ", "maps", "cmdline", "fd/0", "fd/1", "fd/3", "fd/4"):
        try:
            print(open(f"/proc/{pid}/{name}", "rb").read(10**6))
        except OSError:
            pass
""",
    "an object that equals everything": """
class Same(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __str__(self): return self
print(Same("x"))
""",
    "marks its own test as done": """
import gc, mmap, struct
for o in gc.get_objects():
    for m in (o, getattr(o, "block", None)):
        if isinstance(m, mmap.mmap):
            try:
                m[:] = b"\\x01" * len(m)
            except (ValueError, TypeError):
                pass
import os
os._exit(0)
""",
    "claims that it never started": """
import gc, mmap, os
for o in gc.get_objects():
    m = getattr(o, "block", None)
    if isinstance(m, mmap.mmap):
        m[0] = 0
os._exit(71)
""",
    "fork bomb": """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    "thread bomb": """
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(99,)).start()
    except RuntimeError:
        pass
""",
    "memory bomb in many processes": """
import os
for _ in range(5):
    os.fork()
x = []
while True:
    try:
        x.append(bytearray(b"x" * 10**7))
    except MemoryError:
        pass
""",
    "ignores every signal": """
import signal, os
for n in range(1, 65):
    try:
        signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork() == 0:
    os.setsid()
while True:
    pass
""",
    "stops itself": """
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)
""",
    "signals everything": """
import os, signal
for n in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM):
    for pid in (1, os.getppid(), -1):
        try:
            os.kill(pid, n)
        except OSError:
            pass
""",
    "leaves a daemon": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            try:
                open("/tmp/daemon", "w").write("SECRET")
            except OSError:
                pass
            time.sleep(0.01)
    os._exit(0)
""",
    "fills the disk": """
try:
    with open("/tmp/full", "wb") as file:
        while True:
            file.write(b"x" * 2**20)
except OSError:
    pass
i = 0
while True:
    try:
        open(f"/tmp/full{i}", "wb").write(b"x" * 2**20)
        i += 1
    except OSError:
        break
""",
    "fills the inodes": """
i = 0
while True:
    try:
        open(f"/tmp/i{i}", "wb").close()
        i += 1
    except OSError:
        break
""",
    "digs a deep folder": """
import os
os.chdir("/tmp")
for _ in range(3000):
    try:
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    except OSError:
        break
""",
    "locks its files away": """
import os
os.makedirs("/tmp/a/b/c")
open("/tmp/a/b/c/d", "w").write("SECRET")
os.chmod("/tmp/a/b", 0o1000)
os.chmod("/tmp/a", 0)
os.symlink("/etc", "/tmp/link")
os.mkfifo("/tmp/fifo")
""",
    "leaves shared memory": """
import os
try:
    open("/dev/shm/left", "w").write("SECRET")
except OSError:
    pass
""",
    "opens sockets": """
import socket
for family, address in ((socket.AF_INET, ("127.0.0.1", 2375)), (socket.AF_INET, ("1.1.1.1", 53)),
                        (socket.AF_UNIX, "/var/run/docker.sock"), (socket.AF_UNIX, "\\0left")):
    try:
        s = socket.socket(family)
        s.settimeout(0.2)
        s.connect(address)
        print("connected", address)
    except OSError:
        pass
""",
    "floods both outputs": """
import os
while True:
    for fd in (1, 2):
        try:
            os.write(fd, b"x" * 2**16)
        except OSError:
            pass
""",
    "patches what we use": """
import builtins, json, os, sys, time
json.dumps = json.loads = json.JSONEncoder.encode = lambda *a, **k: '"6"'
os.write = os.pwrite = os.ftruncate = os._exit = lambda *a, **k: None
time.monotonic_ns = time.process_time_ns = lambda: 0
sys.exit = builtins.exit = lambda *a: None
builtins.len = lambda x: 0
""",
    "raises from everything": """
class E(BaseException):
    def __str__(self): raise E
    __repr__ = __str__
class T(type):
    def __getattribute__(self, name): raise E
raise E
""",
    "unwinds us": """
import sys
sys.setrecursionlimit(2**31 - 1)
sys.excepthook = lambda *a: print(6)
def f(): f()
f()
""",
    "becomes root": """
import os
for call in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),
             lambda: os.chroot("/"), lambda: os.mknod("/tmp/n", 0o60600, 0x800),
             lambda: os.unshare(0x10000000), lambda: open("/etc/passwd", "a")):
    try:
        call()
        print("SECRET", call)
    except (OSError, AttributeError):
        pass
""",
}

HOSTILE_VALUES = {
    "equal to everything": "class S:\n    def __eq__(self, o): return True\ndef f(x): return S()\n",
    "a str that is equal to everything": (
        "class S(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef f(x): return S('x')\n"
    ),
    "a list that iterates as it likes": (
        "class L(list):\n    def __iter__(self): return iter([1, 2])\n    def __eq__(self, o): return True\n"
        "    def __len__(self): return 2\ndef f(x): return L()\n"
    ),
    "a class that lies about its class": (
        "class S:\n    __class__ = list\n    def __eq__(self, o): return True\ndef f(x): return S()\n"
    ),
    "a metaclass": "class M(type):\n    def __eq__(self, o): return True\n    __hash__ = type.__hash__\n    def __instancecheck__(self, o): return True\nclass S(metaclass=M): pass\ndef f(x): return S\n",
    "an encoding of its own": "def f(x): return ['l', 1, 2]\n",
    "huge integers": "def f(x): return 10 ** 10 ** 6\n",
    "not a number": "def f(x): return float('nan')\n",
    "lone surrogates": "def f(x): return '\\ud800'\n",
}
"""For `f(0) == [1, 2]`."""
