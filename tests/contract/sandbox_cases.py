# ruff: noqa: E501 - a program a line
"""Programs with known verdicts: (name, source, tests, outcome)."""

from __future__ import annotations

from stepcoder_dist.records import Outcome, TestSuite


def stdin_tests(*pairs: tuple[str, str], **more: object) -> TestSuite:
    return TestSuite(
        inputs=tuple(i for i, _ in pairs),
        outputs=tuple(o for _, o in pairs),
        **more,  # type: ignore[arg-type]
    )


def call_tests(name: str, *pairs: tuple[list[object], object], **more: object) -> TestSuite:
    return TestSuite(
        fn_name=name,
        inputs=tuple(i for i, _ in pairs),
        outputs=tuple(o for _, o in pairs),
        **more,  # type: ignore[arg-type]
    )


SUM = stdin_tests(("1 2\n3\n", "6\n"), ("4 5\n6\n", "15\n"), ("10\n", "10\n"))
"""Print the sum of all numbers on standard input."""

READING = {
    "input": "t = 0\ntry:\n    while True:\n        t += sum(map(int, input().split()))\nexcept EOFError:\n    print(t)\n",
    "stdin.read": "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n",
    "stdin iteration": "import sys\nprint(sum(int(w) for line in sys.stdin for w in line.split()))\n",
    "stdin.readline": "import sys\nt = 0\nwhile line := sys.stdin.readline():\n    t += sum(map(int, line.split()))\nprint(t)\n",
    "stdin.buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))\n",
    "buffer.readline": "import sys\nt = 0\nfor line in iter(sys.stdin.buffer.readline, b''):\n    t += sum(map(int, line.split()))\nprint(t)\n",
    "open(0)": "print(sum(map(int, open(0).read().split())))\n",
    "open(0) lines": "t = 0\nfor line in open(0):\n    t += sum(map(int, line.split()))\nprint(t)\n",
    "os.read(0)": "import os\nprint(sum(map(int, os.read(0, 10**6).split())))\n",
    "/dev/stdin": "print(sum(map(int, open('/dev/stdin').read().split())))\n",
    "fileinput": "import fileinput\nprint(sum(int(w) for line in fileinput.input() for w in line.split()))\n",
    "stdin.readlines": "import sys\nprint(sum(int(w) for line in sys.stdin.readlines() for w in line.split()))\n",
    "buffer iteration": "import sys\nprint(sum(int(w) for line in sys.stdin.buffer for w in line.split()))\n",
    "iter(input)": "def lines():\n    try:\n        while True: yield input()\n    except EOFError: return\nprint(sum(int(w) for line in lines() for w in line.split()))\n",
    "input as readline": "import sys\ninput = lambda: sys.stdin.readline().rstrip()\nt = 0\nwhile line := input():\n    t += sum(map(int, line.split()))\nprint(t)\n",
    "os.read in pieces": "import os\ndata = b''\nwhile part := os.read(0, 3): data += part\nprint(sum(map(int, data.split())))\n",
    "io.open(0, 'rb')": "import io\nprint(sum(map(int, io.open(0, 'rb').read().split())))\n",
    "open(sys.stdin.fileno())": "import sys\nprint(sum(map(int, open(sys.stdin.fileno(), 'rb', 0).read().split())))\n",
    "os.fdopen(0)": "import os\nwith os.fdopen(0) as f: print(sum(map(int, f.read().split())))\n",
    "/proc/self/fd/0": "print(sum(map(int, open('/proc/self/fd/0').read().split())))\n",
    "mmap": "import mmap\nwith mmap.mmap(0, 0, prot=mmap.PROT_READ) as m: print(sum(map(int, m[:].split())))\n",
    "from a thread": "import sys, threading\nr = []\nt = threading.Thread(target=lambda: r.append(sys.stdin.read()))\nt.start()\nt.join()\nprint(sum(map(int, r[0].split())))\n",
    "in a subprocess": "import subprocess, sys\nprint(sum(map(int, subprocess.check_output(['/bin/cat']).split())))\n",
    "select first": "import select, sys\nselect.select([sys.stdin], [], [])\nprint(sum(map(int, sys.stdin.read().split())))\n",
    "text layer over buffer": "import io, sys\nprint(sum(map(int, io.TextIOWrapper(sys.stdin.buffer, 'ascii').read().split())))\n",
    "asyncio": "import asyncio, sys\nasync def f():\n    data = await asyncio.to_thread(sys.stdin.read)\n    print(sum(map(int, data.split())))\nasyncio.run(f())\n",
    "a reader of its own by the stream's mode": "import os, sys\nfrom io import BytesIO, IOBase\nclass Reader(IOBase):\n    def __init__(self, file):\n        self.fd, self.writable = file.fileno(), 'x' in file.mode or 'r' not in file.mode\n    def read(self): return BytesIO(os.read(self.fd, max(os.fstat(self.fd).st_size, 8192))).read()\nassert Reader(sys.stdout).writable and not Reader(sys.stdin).writable\nprint(sum(map(int, Reader(sys.stdin).read().split())))\n",
    "stdin reassigned": "import sys, io, os\nsys.stdin = io.BytesIO(os.read(0, os.fstat(0).st_size))\nprint(sum(map(int, sys.stdin.read().split())))\n",
}
_READ = "import sys, os\nr = str(sum(map(int, sys.stdin.read().split())))\n"
WRITING = {
    "stdout.write": _READ + "sys.stdout.write(r)\n",
    "stdout.buffer": _READ + "sys.stdout.buffer.write(r.encode())\n",
    "os.write(1)": _READ + "os.write(1, r.encode())\n",
    "open(1), never closed": _READ + "out = open(1, 'w')\nout.write(r)\n",
    "/dev/stdout": _READ + "with open('/dev/stdout', 'w') as out:\n    out.write(r)\n",
    "sys.__stdout__": _READ + "sys.stdout = None\nsys.__stdout__.write(r)\n",
    "os.fdopen(1)": _READ + "out = os.fdopen(1, 'w')\nout.write(r)\n",
    "os.writev": _READ + "os.writev(1, [r[:1].encode(), r[1:].encode()])\n",
    "stdout reassigned": _READ
    + "import io\nsys.stdout = out = io.StringIO()\nprint(r)\nsys.__stdout__.write(out.getvalue())\n",
    "print to buffer": _READ
    + "import io\nprint(r, file=io.TextIOWrapper(sys.stdout.buffer, write_through=True))\n",
    "logging": _READ
    + "import logging\nlogging.basicConfig(stream=sys.stdout, format='%(message)s')\nlogging.error(r)\n",
    "duplicate": _READ + "os.write(os.dup(1), r.encode())\n",
    "closed stderr": _READ + "sys.stderr.close()\nprint(r)\n",
    "talks on stderr": _READ + "print('x' * 10**6, file=sys.stderr)\nprint(r)\n",
    "__del__": _READ + "class A:\n    def __del__(self): print(r)\na = A()\n",
    "context at exit": _READ
    + "def f():\n    try: yield\n    finally: print(r)\ng = f()\nnext(g)\n",
    "os.exec": _READ + "os.execv('/bin/echo', ['echo', r])\n",
    "nonlocal": _READ
    + "def f():\n    t = 0\n    def g():\n        nonlocal t\n        t = r\n    g()\n    print(t)\nf()\n",
    "CR only": (_READ + "print(r)\n").replace("\n", "\r"),
    "form feed and tabs": _READ + "if 1:\n\tprint(r)\n\f\n",
    "coding line": "# -*- coding: latin-1 -*-\n" + _READ + "print(r)\n",
    "star import of __main__": _READ + "import __main__\nprint(__main__.r)\n",
    "pickle of an own class": _READ
    + "import pickle\nclass A: pass\na = A()\na.r = r\nprint(pickle.loads(pickle.dumps(a)).r)\n",
    "__file__ and argv": _READ + "print(r if __file__ and sys.argv[0] else 0)\n",
    "atexit": _READ + "import atexit\natexit.register(lambda: print(r))\n",
    "thread, joined": _READ
    + "import threading\nt = threading.Thread(target=print, args=(r,))\nt.start()\nt.join()\n",
    "thread, not joined": _READ
    + "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print(r))).start()\n",
    "large stack": _READ
    + "import threading\nthreading.stack_size(2**29)\nt = threading.Thread(target=print, args=(r,))\nt.start()\nt.join()\n",
    "executor": _READ
    + "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(2).submit(print, r)\n",
    "main guard": _READ + "if __name__ == '__main__':\n    print(r)\n",
    "global": _READ + "t = 0\ndef f():\n    global t\n    t = r\nf()\nprint(t)\n",
    "future import": "from __future__ import annotations\n" + _READ + "print(r)\n",
    "CRLF": (_READ + "print(r)\n").replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + _READ + "print(r)\n",
    "multi-line string": _READ + 'x = """\n  a\n"""\nprint(r)\n',
    "sys.exit()": _READ + "print(r)\nsys.exit()\n",
    "exit()": _READ + "print(r)\nexit()\n",
    "os._exit(0)": _READ + "print(r, flush=True)\nos._exit(0)\n",
    "forks": _READ + "p = os.fork()\nif p:\n    os.waitpid(p, 0)\nelse:\n    print(r)\n",
    "subprocess": _READ + "import subprocess\nsubprocess.run(['/bin/echo', r], check=True)\n",
    "dataclass": _READ
    + "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int'\nprint(A(r).x)\n",
    "asyncio": _READ
    + "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    print(r)\nasyncio.run(f())\n",
    "deep recursion": _READ
    + "sys.setrecursionlimit(10**6)\ndef f(n):\n    return n and 1 + f(n - 1)\nf(50000)\nprint(r)\n",
    "stack limit raised": _READ
    + "import resource\nfor soft, hard in ((2**28, -1), (-1, -1)):\n    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))\nprint(r)\n",
    "multiprocessing": _READ
    + "from multiprocessing import Pool\nwith Pool(2) as p:\n    p.map(abs, [1, 2])\nprint(r)\n",
}

ONE = stdin_tests(("1\n", "1\n"))
PASSED, WRONG, RUNTIME, TIMEOUT, MEMORY, OUTPUT, COMPILE = (
    Outcome.PASSED,
    Outcome.WRONG_ANSWER,
    Outcome.RUNTIME_ERROR,
    Outcome.TIMEOUT,
    Outcome.OUT_OF_MEMORY,
    Outcome.OUTPUT_LIMIT,
    Outcome.COMPILE_ERROR,
)
OUTCOMES = {
    "right": ("print(1)\n", PASSED),
    "wrong": ("print(2)\n", WRONG),
    "nothing": ("", WRONG),
    "a comment": ("# 1\n", WRONG),
    "exception": ("print(1)\n1 / 0\n", RUNTIME),
    "exit code": ("print(1)\nimport sys\nsys.exit(1)\n", RUNTIME),
    "exit text": ("print(1)\nimport sys\nsys.exit('no')\n", RUNTIME),
    "os._exit": ("import os\nprint(1, flush=True)\nos._exit(3)\n", RUNTIME),
    "end of input": ("input()\ninput()\n", RUNTIME),
    "recursion": ("def f():\n    f()\nf()\n", RUNTIME),
    "segmentation fault": ("import os\nos.kill(os.getpid(), 11)\n", RUNTIME),
    "kills itself": ("import os\nprint(1, flush=True)\nos.kill(os.getpid(), 9)\n", RUNTIME),
    "standard output that cannot be flushed": (
        "import sys\nsys.stdout.detach().write(b'1')\n",
        RUNTIME,
    ),
    "daemon thread": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(1)\n",
        RUNTIME,
    ),
    "loop": ("while True:\n    pass\n", TIMEOUT),
    "sleeps": ("import time\ntime.sleep(60)\n", TIMEOUT),
    "thread that never ends": (
        "import threading, time\nprint(1)\nthreading.Thread(target=time.sleep, args=(60,)).start()\n",
        TIMEOUT,
    ),
    "large list": ("x = [0] * 10**9\n", MEMORY),
    "large buffer": ("x = bytearray(2**30)\n", MEMORY),
    "grows": ("x = []\nwhile True:\n    x.append('y' * 10**7 + str(len(x)))\n", MEMORY),
    "large output": ("print('y' * 2**21)\n", OUTPUT),
    "endless output": ("while True:\n    print('y' * 1000)\n", OUTPUT),
    "endless output, errors caught": (
        "import os\nwhile True:\n    try:\n        os.write(1, b'y' * 65536)\n    except OSError:\n        break\n",
        OUTPUT,
    ),
    "syntax": ("print(1\n", COMPILE),
    "indentation": ("if 1:\nprint(1)\n", COMPILE),
    "null byte": ("print(1)\0\n", COMPILE),
    "surrogate": ("print('\ud800')\n", COMPILE),
    "deep nesting": ("(" * 3000 + ")" * 3000, COMPILE),
    "return outside": ("return 1\n", COMPILE),
}

CALLS = {
    "function": (
        "def f(a, b):\n    return a + b\n",
        call_tests("f", ([1, 2], 3), ([5, 5], 10)),
        PASSED,
    ),
    "class Solution": (
        "class Solution:\n    def __init__(self):\n        self.n = 0\n    def f(self, a):\n        self.n += a\n        return self.n\n",
        call_tests("f", ([1], 1), ([2], 2)),
        PASSED,
    ),
    "globals are fresh": (
        "seen = []\ndef f(a):\n    seen.append(a)\n    return len(seen)\n",
        call_tests("f", ([1], 1), ([2], 1)),
        PASSED,
    ),
    "wrong": ("def f(a):\n    return a\n", call_tests("f", ([1], 1), ([2], 3)), WRONG),
    "missing": ("def g(a):\n    return a\n", call_tests("f", ([1], 1)), RUNTIME),
    "arguments": ("def f(a, b):\n    return a\n", call_tests("f", ([1], 1)), RUNTIME),
    "prints only": ("def f(a):\n    print(a)\n", call_tests("f", ([1], 1)), WRONG),
    "prints too": (
        "def f(a):\n    print('hello')\n    return a\n",
        call_tests("f", ([1], 1)),
        PASSED,
    ),
    "prints a lot": (
        "def f(a):\n    print('y' * 2**21)\n    return a\n",
        call_tests("f", ([1], 1)),
        OUTPUT,
    ),
    "main guard": (
        "def f(a):\n    return a\nif __name__ == '__main__':\n    print(f(int(input())))\n",
        call_tests("f", ([1], 1)),
        PASSED,
    ),
    "exits": ("import sys\ndef f(a):\n    sys.exit(0)\n", call_tests("f", ([1], 1)), RUNTIME),
    "exits hard": ("import os\ndef f(a):\n    os._exit(0)\n", call_tests("f", ([1], 1)), RUNTIME),
    "tuple for list": (
        "def f(a):\n    return tuple(a)\n",
        call_tests("f", ([[1, 2]], [1, 2])),
        PASSED,
    ),
    "list for tuple": ("def f(a):\n    return [1, 2]\n", call_tests("f", ([1], (1, 2))), WRONG),
    "set": ("def f(a):\n    return set(a)\n", call_tests("f", ([[1, 1]], {1})), PASSED),
    "nan": ("def f():\n    return float('nan')\n", call_tests("f", ([], float("nan"))), PASSED),
    "close float": ("def f():\n    return 0.1 + 0.2\n", call_tests("f", ([], 0.3)), PASSED),
    "float for int": ("def f():\n    return 3.0000001\n", call_tests("f", ([], 3)), WRONG),
    "large int": (
        "def f(n):\n    return n ** 20000\n",
        call_tests("f", ([7], 7**20000)),
        PASSED,
    ),
    "integer keys": ("def f():\n    return {1: 2}\n", call_tests("f", ([], {"1": 2})), PASSED),
    "counter": (
        "from collections import Counter\ndef f(s):\n    return Counter(s)\n",
        call_tests("f", (["aab"], {"a": 2, "b": 1})),
        PASSED,
    ),
    "bytes": ("def f(b):\n    return b * 2\n", call_tests("f", ([b"a"], b"aa")), PASSED),
    "cyclic": (
        "def f():\n    x = []\n    x.append(x)\n    return x\n",
        call_tests("f", ([], [])),
        RUNTIME,
    ),
    "deep": (
        "def f():\n    x = []\n    for _ in range(10**5):\n        x = [x]\n    return x\n",
        call_tests("f", ([], [])),
        RUNTIME,
    ),
    "exponential": (
        "def f():\n    x = []\n    for _ in range(60):\n        x = [x, x]\n    return x\n",
        # a million items to count: the wall clock's back-stop must not come first on a busy machine
        call_tests("f", ([], []), cpu_limit_s=16.0),
        OUTPUT,
    ),
    "generator": ("def f():\n    yield 1\n", call_tests("f", ([], [1])), WRONG),
    "setup code": (
        "def f(xs: List[int]) -> int:\n    return gcd(*xs)\n",
        call_tests(
            "f", ([[4, 6]], 2), setup_code="from typing import List\nfrom math import gcd\n"
        ),
        PASSED,
    ),
    "setup and future": (
        "from __future__ import annotations\ndef f(x):\n    return x\n",
        call_tests("f", ([1], 1), setup_code="import math\n"),
        PASSED,
    ),
}

STATEFUL = {
    "builtins": "import builtins\nbuiltins.n = getattr(builtins, 'n', 0) + 1\nprint(n)\n",
    "module": "import math\nmath.n = getattr(math, 'n', 0) + 1\nprint(math.n)\n",
    "aliased module": "import math as m\nk = m\nvars(k)['n'] = getattr(k, 'n', 0) + 1\nprint(k.n)\n",
    "recursion limit": "import sys\nsys.setrecursionlimit(sys.getrecursionlimit() + 1)\nprint(1)\n",
    "file": "import os\nopen('x', 'a').write('y')\nprint(len(open('x').read()))\n",
    "environment": "import os\nos.environ['N'] = os.environ.get('N', '') + 'x'\nprint(len(os.environ['N']))\n",
    "class attribute": "from collections import Counter\nCounter.n = getattr(Counter, 'n', 0) + 1\nprint(Counter.n)\n",
    "seed": "import random\nrandom.seed(1)\nprint(1)\n",
    "patched print": "import builtins\nprint(1)\nbuiltins.print = lambda *a: None\n",
    "directory": "import os\nos.mkdir('d')\nos.chdir('d')\nprint(1)\n",
    "imported twice": "import sys\nprint(1 + ('colorsys' in sys.modules))\nimport colorsys\n",
}
"""Print 1 in a process of their own, something else where an earlier test left its mark."""
