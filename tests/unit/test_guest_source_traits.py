"""What a source touches: tracing machinery, state that outlives a test."""

from __future__ import annotations

import ast

import pytest

from sandbox.guest.source_traits import leaves_state, touches_tracing

ORDINARY = [
    "import sys\ninput = sys.stdin.readline\nsys.setrecursionlimit(10**6)\nprint(input())\n",
    "import os, sys\nfrom io import BytesIO\nd = os.read(0, os.fstat(0).st_size)\nos.write(1, d)\n",
    "import re\np = re.compile('a')\nprint(getattr(p, 'pattern'))\n",
    "from collections import *\nfrom math import gcd as g\nd = defaultdict(int)\nd[1] = g(2, 4)\n",
    "class A:\n    n = 0\n    def f(self):\n        self.x = 1\n        A.n += 1\n",
    "print(eval(input()))\n",
    "t = open(0).read()\n",
    "from functools import lru_cache\n@lru_cache(None)\ndef f(x): return x\n",
]
LASTING = [
    "import math\nmath.pi = 3\n",
    "import random\n",
    "import threading\n",
    "import os\nos.chdir('/')\n",
    "import os as o\n",
    "import sys\nsys.modules['x'] = 1\n",
    "from sys import modules\n",
    "import os\nos.environ['a'] = 'b'\n",
    "open('x', 'w')\n",
    "import builtins\n",
    "__builtins__.len = 1\n",
    "exec('import math')\n",
    "setattr(int, 'x', 1)\n",
    "globals()\n",
]


@pytest.mark.parametrize("source", ORDINARY)
def test_ordinary_programs_share_a_child_and_are_trusted(source):
    assert not leaves_state(source, ast.parse(source))
    assert not touches_tracing(source, ast.parse(source))


@pytest.mark.parametrize("source", LASTING)
def test_programs_that_change_the_interpreter_get_a_process_for_each_test(source):
    assert leaves_state(source, ast.parse(source))
