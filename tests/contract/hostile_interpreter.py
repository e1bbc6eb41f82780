# ruff: noqa: E501 - a program a line
"""Programs that reach through the interpreter for what judges them, and answers that they forge.

They have read our source: they find the child's own objects through frames and modules, and write
into everything that it has.
"""

from __future__ import annotations

_CHILD = """
import sys
frame = sys._getframe()
while not hasattr(frame.f_locals.get("self"), "_files"):
    frame = frame.f_back
child = frame.f_locals["self"]
files = child._files
"""

FORGERS = {
    "says a phase that does not exist": _CHILD + "import os\nfiles.block[0] = 255\nos._exit(0)\n",
    "says that it never started": _CHILD + "import os\nfiles.block[0] = 0\nos._exit(71)\n",
    "fills its status with ones and loops": _CHILD
    + "files.block[:] = b'\\x01' * len(files.block)\nwhile True: pass\n",
    "fills its status with bytes of every kind": _CHILD
    + "import os\nfiles.block[:] = os.urandom(len(files.block))\nos._exit(0)\n",
    "says that its test begins in the future": _CHILD
    + "import struct\nfiles.block[16:32] = struct.pack('<QQ', 2**64 - 1, 2**64 - 1)\nwhile True: pass\n",
    "says that it is done and goes on": _CHILD
    + "import struct, time\nfiles.block[40] = 1\nfiles.block[41] = 0\ntime.sleep(60)\n",
    "takes the tests out of our loop": _CHILD
    + "child._test = child._seal = lambda *a: None\nchild.exit_code = 0\nfiles.inputs.clear()\nfiles.answers.clear()\n",
    "replaces our own functions": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("sandbox"):
        for key, value in list(vars(module).items()):
            if callable(value):
                setattr(module, key, lambda *a, **k: True)
""",
    "empties our own modules": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("sandbox"):
        vars(module).clear()
""",
    "changes our frames and code": """
import gc, sys
frame = sys._getframe().f_back
while frame:
    for key in list(frame.f_locals):
        try:
            frame.f_locals[key] = None
        except Exception:
            pass
    frame = frame.f_back
sys.exit()
""",
    "reads and writes every file in memory": """
import os
for name in os.listdir("/proc/self/fd"):
    for mode in ("rb", "r+b", "ab"):
        try:
            with open(f"/proc/self/fd/{name}", mode, 0) as file:
                if mode == "rb":
                    print(file.read(10**5))
                else:
                    file.write(b"SECRET")
        except OSError:
            pass
""",
    "makes its answer a terabyte": _CHILD
    + "import os\nfor f in files.answers:\n    os.ftruncate(f, 2**40)\n",
    "makes its answer a terabyte, errors caught": _CHILD
    + "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nfor f in (*files.answers, files.scratch, files.program, *files.inputs):\n    for size in (2**40, 2**21):\n        try:\n            os.ftruncate(f, size)\n        except OSError:\n            pass\n",
    "seals what we read": _CHILD
    + "import fcntl\nfor f in (*files.answers, *files.inputs, files.scratch, files.structure, files.program):\n    for seals in (2, 4, 8, 16, 1):\n        try:\n            fcntl.fcntl(f, fcntl.F_ADD_SEALS, seals)\n        except OSError:\n            pass\n",
    "unmaps what it shares with us": _CHILD
    + "import ctypes\nlibc = ctypes.CDLL(None)\nfor line in open('/proc/self/maps'):\n    if '/dev/zero' in line:\n        low, high = (int(x, 16) for x in line.split()[0].split('-'))\n        libc.munmap(ctypes.c_void_p(low), ctypes.c_size_t(high - low))\n",
    "turns its tracer against itself": """
import sys
m = sys.monitoring
m.free_tool_id(1)
m.use_tool_id(1, "stepcoder")
def always(*a): raise SystemExit(0)
m.register_callback(1, m.events.LINE, always)
m.set_events(1, m.events.LINE)
x = 1
""",
    "raises out of its own end": """
import atexit, os, sys
class X:
    def __del__(self): raise SystemExit(0)
x = X()
sys.stdout = type("S", (), {"flush": lambda s: os._exit(0), "write": lambda *a: 0})()
atexit.register(sys.exit)
""",
    "an exception whose class raises": """
class M(type):
    def __getattribute__(cls, name): raise SystemExit(0)
    __instancecheck__ = __subclasscheck__ = lambda *a: True
class E(Exception, metaclass=M): pass
raise E
""",
    "leaves by every door": """
import os, signal, sys, threading
threading.Thread(target=lambda: os._exit(0)).start()
signal.raise_signal(signal.SIGTERM)
""",
    "runs another interpreter": "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(6)'])\n",
    "ends its main thread and goes on": "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nctypes.CDLL(None).syscall(60, 0)\n",
    "a source too complex for the parser": "x = " + "-" * 20_000 + "1\n",
    "a source of nested functions": "".join(" " * i + f"def f{i}():\n" for i in range(99)) + " " * 99 + "1\n",
    "a source of many lines": "x = 1\n" * 100_000,
    "a source of one long line": "x = [" + "1," * 200_000 + "]\n",
    "a source that grows when it is compiled": "x = ((((('a' * 4096,) * 4096,) * 4096,) * 4096,) * 4096,)\nprint(f'{x}')\n",
}  # fmt: skip

_ANSWER = """
import sys
data = {data}
for name in ("plain_data", "function_calls"):
    module = sys.modules["sandbox.guest." + name]
    module.encode = module.packed = lambda *a: data
def f(x): return 0
"""

FORGED_ANSWERS = {
    "keys of one hash": """b'["s",' + b",".join(b'["i","%x"]' % ((2**61 - 1) * (i + 2**9)) for i in range(30_000)) + b"]" """,
    "many small sets of one hash": """b'["l",' + b",".join([b'["d",' + b",".join(b'["i","%x"],0' % ((2**61 - 1) * (i + 2**9)) for i in range(200)) + b"]"] * 100) + b"]" """,
    "nested a million times": 'b"[" * 10**6',
    "tags nested too deeply": """b'["l",' * 150_000 + b"1" + b"]" * 150_000""",
    "a number of a million digits": 'b"9" * 10**6',
    "a float of a million digits": 'b"0." + b"9" * 10**6',
    "a number beyond every float": 'b"1e99999"',
    "words of JSON that are none": 'b"[Infinity, -Infinity, NaN]"',
    "no JSON": "bytes(range(256)) * 100",
    "an object": """b'{"l": [1, 2]}'""",
    "an unknown tag": """b'["z", 1, 2]'""",
    "a dictionary with an odd number": """b'["d", 1]'""",
    "a set of lists": """b'["s", ["l", 1]]'""",
    "an object that is no plain data": """b'["o", "list"]'""",
    "a tag that is a list": "b'[[1], 2]'",
    "no tag": "b'[]'",
    "nothing": "b''",
    "a million items": """b'["l",' + b",".join([b'0'] * 500_000) + b"]" """,
    "text in UTF-16": """'["l",1,3]'.encode("utf-16")""",
}  # fmt: skip
"""What stands in the answer's file of `f(0) == [1, 2]`, as Python expressions."""


def answering(data: str) -> str:
    """A program whose child writes these bytes for an answer."""
    return _ANSWER.format(data=data)
