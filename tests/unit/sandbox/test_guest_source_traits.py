# ruff: noqa: E501 - a program a line
"""What a source touches: tracing machinery, state that outlives a test."""

from __future__ import annotations

import ast

import pytest

from sandbox.guest.source_traits import leaves_state
from sandbox.guest.tracing_reach import touches_tracing

ORDINARY = [
    "import sys\ninput = sys.stdin.readline\nsys.setrecursionlimit(10**6)\nprint(input())\n",
    "import os, sys\nfrom io import BytesIO\nd = os.read(0, os.fstat(0).st_size)\nos.write(1, d)\n",
    "import re\np = re.compile('a')\nprint(getattr(p, 'pattern'))\n",
    "from collections import *\nfrom math import gcd as g\nd = defaultdict(int)\nd[1] = g(2, 4)\n",
    "class A:\n    n = 0\n    def f(self):\n        self.x = 1\n        A.n += 1\n",
    "print(eval(input()))\n",
    "t = open(0).read()\n",
    "from functools import lru_cache\n@lru_cache(None)\ndef f(x): return x\n",
    "from math import *\nfrom functools import reduce\nprint(reduce(gcd, map(int, input().split())))\n",
    "from typing import Optional\nclass N:\n    def __init__(self): self.next = None\ndef f(n: Optional[N], m: 'Optional[N]' = None) -> Optional[N]:\n    n.next = m\n    return n\n",
    "from collections import Counter, deque\nq = deque([1])\nq.append(2)\nc = Counter()\nc.update('a')\n",
    "from operator import attrgetter\nprint(sorted([1j], key=attrgetter('real')))\n",
    "import math\nclass N: pass\nn = N()\nn.least = math.inf\nn.gcd = math.gcd\n",
    "import json\nprint(list(map(json.loads, ['1'])))\n",
    "from queue import Queue, Empty\nn = Queue()\nn.last = 1\ntry: n.get_nowait()\nexcept Empty: pass\n",
]
REACHING = [
    "import sandbox.guest.line_tracer\n",
    "import sys\nsys.modules['sandbox.guest.line' + '_tracer'].LineTracer.end = lambda self: True\n",
    "from sys import *\nmodules\n",
    "import collections\ncollections._sys.modules\n",
    "from sys import _\uff47etframe as g\ng()\n",
    "from gc import get_objects as g\ng()\n",
    "try: 1 / 0\nexcept Exception as e: t = e.__traceback__\nmatch t:\n    case object(\uff54b_frame=f): pass\n",
    "import operator\noperator.attrgetter('tb_' + 'frame')\n",
    "from operator import attrgetter as a\na('tb_' + 'frame')\n",
    "object.__getattribute__(1, 'tb_' + 'frame')\n",
    "list(map(getattr, [1], ['tb_' + 'frame']))\n",
    "getattr(*(1, 'tb_' + 'frame'))\n",
    "type(1).__dict__['tb_' + 'frame']\n",
    "vars(type(1))['tb_' + 'frame']\n",
    "eval('sys._get' + 'frame()')\n",
    "print.__self__\n",
    "import pickle\n",
    "import pkgutil\npkgutil.resolve_name('sys:_get' + 'frame')\n",
    "import string\nstring.Formatter().get_field('0.tb_' + 'frame', (1,), {})\n",
    "from timeit import timeit\n",
]
LASTING = [
    "import json\nk = json.encoder\nk.n = 1\n",
    "import json\nd = json.decoder\n",
    "from json.encoder import ESCAPE_DCT\nk = ESCAPE_DCT\nk.update({1: 2})\n",
    "from json.encoder import ESCAPE_DCT as d\nd |= {1: 2}\n",
    "import json, operator\noperator.ior(json.encoder.ESCAPE_DCT, {1: 2})\n",
    "import json\nf = json.encoder.ESCAPE_DCT.update\n",
    "import json\nJ = json.decoder.JSONDecoder\nJ.n = 1\n",
    "import os\nos.write(5, b'x')\n",
    "open(7).read()\n",
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
    "import math\nk = math\nk.n = 1\n",
    "import math\ndef f(m):\n    m.n = 1\nf(math)\n",
    "from collections import *\nCounter.n = 1\n",
    "from collections import Counter\nK = Counter\nK.n = 1\n",
    "from collections import Counter\ntype(Counter()).n = 1\n",
    "from collections import Counter\nclass A(Counter): pass\nA.__base__.n = 1\n",
    "import math\nmath.__setattr__('n', 1)\n",
    "import json\njson.encoder.ESCAPE_DCT.update({'a': 'b'})\n",
    "import copy\nd = copy._deepcopy_dispatch\n",
    "import os\nos.environ.update(A='b')\n",
    "from os import environ\n",
    "f = open\nf('x', 'w')\n",
    "from io import open as o\no('x', 'w')\n",
    "import io\nio.FileIO('x', 'w')\n",
    "eval('__imp' + 'ort__')\n",
    "e = eval\n",
]


@pytest.mark.parametrize("source", ORDINARY)
def test_ordinary_programs_share_a_child_and_are_trusted(source):
    assert not leaves_state(source, ast.parse(source))
    assert not touches_tracing(source, ast.parse(source))


@pytest.mark.parametrize("source", REACHING)
def test_programs_that_reach_for_tracing_by_another_name_are_not_trusted(source):
    assert touches_tracing(source, ast.parse(source))


@pytest.mark.parametrize("source", LASTING)
def test_programs_that_change_the_interpreter_get_a_process_for_each_test(source):
    assert leaves_state(source, ast.parse(source))
