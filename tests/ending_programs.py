# ruff: noqa: E501 - a program a line
"""Programs that leave output to the interpreter's exit: (source, what is written for 7)."""

from __future__ import annotations

_READ = "import sys, os, io\nn = int(input())\nr = str(n * n)\n"
_WRITERS = {
    "text": ("open(1, 'w')", ""),
    "text, descriptor left open": ("os.fdopen(1, 'w', closefd=False)", ""),
    "bytes": ("open(sys.stdout.fileno(), 'wb')", ".encode()"),
    "over a duplicate": ("open(os.dup(1), 'w')", ""),
    "over the standard buffer": ("io.TextIOWrapper(sys.stdout.buffer)", ""),
    "in three layers": ("io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w')))", ""),
}
_PLACES = {
    "global": "out = {w}\ndef main(): out.write(r{b})\nmain()\n",
    "local": "def main():\n    out = {w}\n    out.write(r{b})\n    sys.exit()\nmain()\n",
    "bound method": "write = {w}.write\ndef main(): write(r{b})\nmain()\n",
    "class attribute": "class A:\n    out = {w}\n    def say(self, x): self.out.write(x{b})\nA().say(r)\n",
    "object in a cycle": "class A:\n    def __init__(self): self.me, self.say = self, {w}.write\na = A()\na.say(r{b})\n",
    "closure": "def make():\n    out = {w}\n    return lambda x: out.write(x{b})\nsay = make()\nsay(r)\n",
    "default": "def say(x, out={w}): out.write(x{b})\nsay(r)\n",
    "generator": "def g():\n    out = {w}\n    while True: out.write((yield){b})\ns = g()\nnext(s)\ns.send(r)\n",
    "annotated": "from typing import List\nclass A:\n    out = {w}\ndef main(x: List[A]): A.out.write(r{b})\nmain([])\n",
    "thread": "import threading\nout = {w}\ndef main(): out.write(r{b})\nthreading.Thread(target=main).start()\n",
    "atexit": "import atexit\nout = {w}\n@atexit.register\ndef main(): out.write(r{b})\n",
    "finalizer": "class A:\n    def __init__(self): self.out = {w}\n    def __del__(self): self.out.close()\na = A()\na.out.write(r{b})\n",
    "module of Python's": "import math\nmath.out = {w}\ndef main(): math.out.write(r{b})\nmain()\n",
    "signal handler": "import signal\nout = {w}\nsignal.signal(signal.SIGALRM, lambda *_: out)\nout.write(r{b})\n",
}
_FAST = """from io import BytesIO, IOBase
class Fast(IOBase):
    def __init__(self, file):
        self.fd, self.buffer = file.fileno(), BytesIO()
        self.write = self.buffer.write
    def flush(self):
        os.write(self.fd, self.buffer.getvalue())
        self.buffer.truncate(0), self.buffer.seek(0)
class Text(IOBase):
    def __init__(self, file):
        self.buffer = Fast(file)
        self.write = lambda s: self.buffer.write(s.encode())
        self.flush = self.buffer.flush
"""
_SLOW = "import threading, time\ndef late(f): threading.Thread(target=lambda: (time.sleep(0.1), f())).start()\n"
_SEES = "class A:\n    def __init__(self, x): self.x = x\n    def __del__(self): print(self.x)\n"
_OTHERS = {
    "print to a file": ("out = open(1, 'w')\ndef main(): print(r, file=out)\nmain()\n", "49\n"),
    "partial": (
        "from functools import partial\nprint = partial(print, file=open(1, 'w'))\ndef main(): print(r)\nmain()\n",
        "49\n",
    ),
    "built-in print replaced": (
        "import builtins\nbuiltins.print = lambda x, out=open(1, 'w'): out.write(x)\ndef main(): print(r)\nmain()\n",
        "49",
    ),
    "stdout is a file": ("sys.stdout = open(1, 'w')\ndef main(): print(r)\nmain()\n", "49\n"),
    "stdout is gone": ("print(r)\ndel sys.stdout\n", "49\n"),
    "stdout and a file": ("print(1)\nout = open(1, 'w')\ndef f(): out.write(r)\nf()\n", "1\n49"),
    "fast stdout": (_FAST + "sys.stdout = Text(sys.stdout)\nprint(r)\n", "49\n"),
    "fast writer": (_FAST + "out = Text(sys.stdout)\nout.write(r)\n", "49"),
    "fast writer in a function": (
        _FAST + "def main():\n    out = Fast(sys.stdout)\n    out.write(r.encode())\nmain()\n",
        "49",
    ),
    "layers from the inside": (
        "raw = io.FileIO(1, 'w')\nbuffer = io.BufferedWriter(raw)\ndef f(): buffer.write(r.encode())\nf()\n",
        "",
    ),
    "collector switched off": (
        "import gc\ngc.disable()\nout = open(1, 'w')\ndef f(): out.write(r)\nf()\n",
        "",
    ),
    "before a thread": (_SLOW + "late(lambda: os.write(1, b'B'))\nprint(r)\n", "49\nB"),
    "before a thread leaves": (_SLOW + "late(lambda: os._exit(0))\nprint(r)\n", "49\n"),
    "before a thread prints": (
        _SLOW + "late(lambda: (print('C'), os.write(1, b'B')))\nprint(r)\n",
        "49\nBC\n",
    ),
    "before atexit": ("import atexit\natexit.register(os.write, 1, b'B')\nprint(r)\n", "49\nB"),
    "before atexit leaves": ("import atexit\natexit.register(os._exit, 0)\nprint(r)\n", "49\n"),
    "before atexit, by sys.exit": (
        "import atexit\natexit.register(os.system, 'echo B')\nprint(r)\nsys.exit()\n",
        "49\nB\n",
    ),
    "thread before atexit": (
        _SLOW
        + "import atexit\natexit.register(os.write, 1, b'C')\nlate(lambda: os.write(1, b'B'))\n",
        "BC",
    ),
    "atexit goes on after an error": (
        "import atexit\natexit.register(print, r)\natexit.register(int, 'x')\n",
        "49\n",
    ),
    "flushed twice": (
        "class A:\n    def write(self, s): pass\n    def flush(self): os.write(1, b'F')\nsys.stdout = A()\n",
        "FF",
    ),
    "a first flush that fails": (
        "class A:\n    n = 0\n    def flush(self):\n        self.n += 1\n        os.write(1, b'F')\n        1 // (self.n - 1)\nsys.stdout = A()\n",
        "FF",
    ),
    "finalizers in order": (_SEES + "a = A(1)\nb = A(2)\n_c = A(3)\n", "1\n2\n3\n"),
    "finalizer in a built-in": (_SEES + "import builtins\nbuiltins.a = A(1)\nb = A(2)\n", "1\n2\n"),
    "finalizer behind an annotation": (
        _SEES + "from typing import List\ndef f(x: List[A]): pass\na = A(r)\n",
        "49\n",
    ),
    "finalizer behind a signal handler": (
        _SEES + "import signal\na = A(r)\nsignal.signal(signal.SIGALRM, lambda *_: a)\n",
        "49\n",
    ),
    "finalizer under another stdout": (
        _SEES + "a = A(r)\nsys.stdout = io.StringIO()\nprint('lost')\n",
        "49\n",
    ),
}
ENDINGS = {
    f"{writer}: {place}": (_READ + source.format(w=made, b=encoded), "49")
    for writer, (made, encoded) in _WRITERS.items()
    for place, source in _PLACES.items()
} | {name: (_READ + source, written) for name, (source, written) in _OTHERS.items()}
