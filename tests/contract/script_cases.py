# ruff: noqa: E501 - a program a line
"""Assert scripts with programs of known verdicts, and programs that try to pass without solving."""

from __future__ import annotations

from stepcoder_dist.records import Outcome, TestSuite

PASSED, WRONG, RUNTIME, TIMEOUT, MEMORY, OUTPUT, COMPILE = (
    Outcome.PASSED,
    Outcome.WRONG_ANSWER,
    Outcome.RUNTIME_ERROR,
    Outcome.TIMEOUT,
    Outcome.OUT_OF_MEMORY,
    Outcome.OUTPUT_LIMIT,
    Outcome.COMPILE_ERROR,
)


def script(test_code: str, entry_point: str = "f", **more: object) -> TestSuite:
    return TestSuite(
        inputs=(),
        outputs=(),
        test_code=test_code,
        entry_point=entry_point,
        **more,  # type: ignore[arg-type]
    )


SECRET = "SECRET-4f9a21"
DOUBLES = script(
    "def check(candidate):\n"
    "    import random\n"
    "    for _ in range(20):\n"
    "        n = random.randrange(10**9)\n"
    f"        assert candidate(n) == n * 2, '{SECRET}'\n"
)
"""f(n) is twice n."""

RAISES = script(
    "try:\n    f(-1)\n    assert False, 'nothing was raised'\nexcept ValueError as error:\n"
    "    assert str(error) == 'negative'\nassert f(1) == 1\n"
)
NEVER_LOOKS = script("assert all(map(f, range(5)))\n")

SCRIPTS = {
    "right": ("def f(n):\n    return n + n\n", DOUBLES, PASSED),
    "wrong": ("def f(n):\n    return n\n", DOUBLES, WRONG),
    "right at first": (
        "c = []\ndef f(n):\n    c.append(n)\n    return n + n if len(c) < 20 else 0\n",
        DOUBLES,
        WRONG,
    ),
    "class Solution": (
        "class Solution:\n    def f(self, n):\n        return n * 2\n",
        DOUBLES,
        PASSED,
    ),
    "no function": ("def g(n):\n    return n\n", DOUBLES, RUNTIME),
    "raises": ("def f(n):\n    return 1 / 0\n", DOUBLES, RUNTIME),
    "raises an assertion": ("def f(n):\n    assert False\n", DOUBLES, RUNTIME),
    "raises at its first line": ("1 / 0\ndef f(n):\n    return n * 2\n", DOUBLES, RUNTIME),
    "does not compile": ("def f(n)\n", DOUBLES, COMPILE),
    "loops": ("def f(n):\n    while True:\n        pass\n", DOUBLES, TIMEOUT),
    "sleeps": ("import time\ndef f(n):\n    time.sleep(60)\n", DOUBLES, TIMEOUT),
    "large": ("def f(n):\n    return len(bytearray(2**30))\n", DOUBLES, MEMORY),
    "large answer": ("def f(n):\n    return 'x' * 2**21\n", DOUBLES, OUTPUT),
    "large output": ("def f(n):\n    print('x' * 2**16)\n    return n * 2\n", DOUBLES, OUTPUT),
    "prints": ("def f(n):\n    print(n)\n    return n * 2\n", DOUBLES, PASSED),
    "leaves": ("import sys\ndef f(n):\n    sys.exit(0)\n", DOUBLES, RUNTIME),
    "cyclic": ("def f(n):\n    x = []\n    x.append(x)\n    return x\n", DOUBLES, RUNTIME),
    "leaves a thread": (
        "import threading, time\ndef f(n):\n    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n    return n * 2\n",
        DOUBLES,
        RUNTIME,
    ),
    "sets its recursion limit": (
        "import sys\nsys.setrecursionlimit(5000)\ndef g(n):\n    return n and 1 + g(n - 1)\ndef f(n):\n    g(3000)\n    return n * 2\n",
        DOUBLES,
        PASSED,
    ),
    "forks": (
        "import os\ndef f(n):\n    p = os.fork()\n    if p:\n        os.waitpid(p, 0)\n    return n * 2\n",
        script("assert f(2) == 4\nassert f(3) == 6\n"),
        PASSED,
    ),
    "expected exception": (
        "def f(n):\n    if n < 0:\n        raise ValueError('negative')\n    return n\n",
        RAISES,
        PASSED,
    ),
    "own exception of a built-in kind": (
        "class Negative(ValueError):\n    pass\ndef f(n):\n    if n < 0:\n        raise Negative('negative')\n    return n\n",
        RAISES,
        PASSED,
    ),
    "no exception": ("def f(n):\n    return n\n", RAISES, WRONG),
    "another exception": ("def f(n):\n    raise KeyError('negative')\n", RAISES, RUNTIME),
    "exception with two arguments": (
        "def f(n):\n    open('/missing/file')\n",
        script("try:\n    f(1)\nexcept FileNotFoundError as error:\n    assert error.errno == 2\n"),
        PASSED,
    ),
    "types as arguments": (
        "def f(x, kind):\n    return kind(x), kind\n",
        script("assert f('1', int) == (1, int)\nassert f(1, kind=str) == ('1', str)\n"),
        PASSED,
    ),
    "typed values": (
        "def f(x):\n    return x\n",
        script(
            "for x in [(1, 2), {3}, b'4', 5j, {6: (7,)}, 2**99, None, True, 'ä', float('inf')]:\n    assert f(x) == x and type(f(x)) is type(x)\n"
        ),
        PASSED,
    ),
    "iterators": (
        "def f(n):\n    yield from range(n)\n",
        script("assert list(f(3)) == [0, 1, 2]\nassert sum(f(4)) == 6\n"),
        PASSED,
    ),
    "dictionary views": (
        "def f(d):\n    return d.keys()\n",
        script(
            "assert sorted(f({2: 0, 1: 0})) == [1, 2]\nassert len(f({1: 0})) == 1\nassert not f({})\n"
        ),
        PASSED,
    ),
    "functions": (
        "def f(n):\n    return lambda m: n + m\n",
        script("assert f(2)(3) == 5\n"),
        PASSED,
    ),
    "a class": (
        "class Stack:\n    def __init__(self, *items):\n        self.items = list(items)\n    def push(self, item):\n        self.items.append(item)\n        return self\n",
        script(
            "s = Stack(1)\nassert s.push(2).push((3,)).items == [1, 2, (3,)]\nassert not hasattr(s, 'pop')\n",
            "Stack",
        ),
        PASSED,
    ),
    "the program's own class": (
        "class Pair:\n    def __init__(self, a):\n        self.a = a\ndef f(pairs):\n    return sum(p.a for p in pairs)\n",
        script("assert f([Pair(1), Pair(2)]) == 3\n"),
        PASSED,
    ),
    "arguments stay the caller's": (
        "def f(x):\n    x.append(1)\n    return x\n",
        script("x = []\nassert f(x) == [1]\nassert x == []\n"),
        PASSED,
    ),
    "setup code": (
        "def f(n):\n    return helper(n)\n",
        script("assert f(3) == helper(3)\n", setup_code="def helper(n):\n    return n + 1\n"),
        PASSED,
    ),
    "calls its check itself": (
        "def f(n):\n    return n\n",
        script("def check(candidate):\n    assert candidate(1) == 1\ncheck(f)\n"),
        PASSED,
    ),
    "a script that loops": (
        "def f(n):\n    return n\n",
        script("while f(1):\n    pass\n"),
        TIMEOUT,
    ),
    "a script that loops by itself": (
        "def f(n):\n    return n\n",
        script("f(1)\nwhile True:\n    pass\n"),
        TIMEOUT,
    ),
    "a script that grows": (
        "def f(n):\n    return n\n",
        script("x = bytearray(f(2**30))\n"),
        MEMORY,
    ),
    "a script that fails": (
        "def f(n):\n    return None\n",
        script("assert f(1)[0] == 1\n"),
        RUNTIME,
    ),
    "a script that dies": (
        "def f(n):\n    return n\n",
        script("import os\nf(1)\nos._exit(0)\n"),
        RUNTIME,
    ),
    "a script that prints": (
        "def f(n):\n    return n\n",
        script("print('x' * 2**22)\nassert f(1) == 1\n"),
        PASSED,
    ),
}

REFUSED = {
    "does not compile": script("assert f(1) ==\n"),
    "without a call": script("assert f\n"),
    "a function as an argument": script("assert f(lambda: 1)\n"),
    "needs a missing module": script("import no_such_module\nassert f(1)\n"),
    "does not say which function": script("def check(candidate):\n    assert candidate(1)\n", ""),
}

HOSTILE_SCRIPTED = {
    "equal to everything": (
        "class S:\n    def __eq__(self, o): return True\n    def __bool__(self): return True\ndef f(n): return S()\n",
        DOUBLES,
    ),
    "a number that is equal to everything": (
        "class S(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(n): return S(1)\n",
        DOUBLES,
    ),
    "a forged assertion": (
        "class E(AssertionError):\n    stepcoder_detail = None\n    args = property(lambda s: ())\n    def __str__(self): raise E\ndef f(n): raise E\n",
        DOUBLES,
    ),
    "an end of iteration": ("def f(n): raise StopIteration\n", NEVER_LOOKS),
    "an own end of iteration": ("class E(StopIteration): pass\ndef f(n): raise E\n", NEVER_LOOKS),
    "patched builtins": (
        "import builtins, json, os, sys\nfor name in ('len', 'isinstance', 'getattr', 'AssertionError', 'all', 'type'):\n    setattr(builtins, name, lambda *a, **k: True)\njson.dumps = json.loads = lambda *a, **k: [0, '']\nos.write = os.pwrite = lambda *a: 0\ndef f(n): return 0\n",
        DOUBLES,
    ),
    "sys.exit": ("import sys\ndef f(n): sys.exit(0)\n", DOUBLES),
    "SystemExit by name": ("def f(n): raise SystemExit\n", DOUBLES),
    "os._exit": ("import os\ndef f(n): os._exit(0)\n", DOUBLES),
    "GeneratorExit": ("def f(n): raise GeneratorExit\n", DOUBLES),
    "kills itself": ("import os\ndef f(n): os.kill(os.getpid(), 9)\n", DOUBLES),
    "writes on every descriptor": (
        'import os, struct\nMESSAGES = [b\'[0, ""]\', b"\\0" * 64, struct.pack("<I", 17) + b\'["t","value",[0]]\']\ndef f(n):\n    for fd in range(1, 300):\n        for data in MESSAGES:\n            for write in (lambda: os.write(fd, data), lambda: os.pwrite(fd, data, 0)):\n                try: write()\n                except OSError: pass\n    return 0\n',
        DOUBLES,
    ),
    "closes every descriptor": (
        "import os\ndef f(n):\n    os.closerange(0, 300)\n    return 0\n",
        DOUBLES,
    ),
    "ends the talk": (
        "import os\ndef f(n):\n    for fd in range(3, 300):\n        try: os.write(fd, bytes(4))\n        except OSError: pass\n    os._exit(0)\n",
        DOUBLES,
    ),
    "an endless answer": (
        "import os\ndef f(n):\n    while True:\n        for fd in range(3, 300):\n            try: os.write(fd, b'\\xff' * 65536)\n            except OSError: pass\n",
        DOUBLES,
    ),
    "kills what it can": (
        "import os\ndef f(n):\n    for pid in [os.getppid(), *map(int, filter(str.isdigit, os.listdir('/proc')))]:\n        try:\n            pid != os.getpid() and os.kill(pid, 9)\n        except OSError: pass\n    return 0\n",
        DOUBLES,
    ),
    "plants modules": (
        "import os\nfolder = os.getcwd()\nif 1:\n    for name in ('random', 'colorsys', 'decimal'):\n        try: open(folder + '/' + name + '.py', 'w').write('import os, json\\nfor fd in range(3, 99):\\n    try: os.pwrite(fd, json.dumps([0, str()]).encode(), 0)\\n    except OSError: pass\\nos._exit(0)\\n')\n        except OSError: pass\ndef f(n): return 0\n",
        script("assert f(1) == 0\nimport colorsys, decimal\nassert f(2) == 4\n"),
    ),
    "an answer of infinite numbers": (
        "import os\ndef f(n):\n    body = b'[\"h\",1e999,\"x\"]'\n    for fd in range(3, 300):\n        try: os.write(fd, len(body).to_bytes(4, 'little') + body)\n        except OSError: pass\n    return 0\n",
        DOUBLES,
    ),
    "replies from two processes": ("import os\ndef f(n):\n    os.fork()\n    return 0\n", DOUBLES),
}

FINDS_THE_SCRIPT = {
    "in its memory": 'import re\ndef f(n):\n    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:\n        for line in maps:\n            low, high = (int(x, 16) for x in line.split()[0].split("-"))\n            try:\n                memory.seek(low)\n                found = re.search(b"SECRET-" + b"[0-9a-f]{6}", memory.read(high - low))\n            except (OSError, ValueError, OverflowError):\n                continue\n            if found:\n                return n * 2\n',
    "in the memory of others": 'import os, re\ndef f(n):\n    for pid in os.listdir("/proc"):\n        if not pid.isdigit() or int(pid) == os.getpid():\n            continue\n        try:\n            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:\n                for line in maps:\n                    low, high = (int(x, 16) for x in line.split()[0].split("-"))\n                    try:\n                        memory.seek(low)\n                        if re.search(b"SECRET-" + b"[0-9a-f]{6}", memory.read(high - low)):\n                            return n * 2\n                    except (OSError, ValueError, OverflowError):\n                        continue\n        except OSError:\n            pass\n',
    "in /proc": 'import os\ndef f(n):\n    for folder, _, names in os.walk("/proc"):\n        if folder.count("/") > 4 or "self" in folder or folder.startswith("/proc/" + str(os.getpid())) or not folder[6:7].isdigit():\n            continue\n        for name in names:\n            try:\n                with open(os.path.join(folder, name), "rb") as file:\n                    if b"SECRET-" + b"4f9a21" in file.read(10**6):\n                        return n * 2\n            except OSError:\n                pass\n',
    "behind its descriptors": 'import os\ndef f(n):\n    for fd in range(3, 300):\n        try:\n            if b"SECRET-" + b"4f9a21" in os.pread(fd, 10**6, 0):\n                return n * 2\n        except OSError:\n            pass\n',
}
"""Each returns the right answer where it has found the script's text."""
