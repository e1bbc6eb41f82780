# ruff: noqa: E501 - a program a line
"""What a source touches: tracing machinery, state that outlives a test."""

from __future__ import annotations

import ast

import pytest

from sandbox.guest.source.source_traits import leaves_state
from sandbox.guest.source.tracing_reach import touches_tracing

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
ORDINARY += [
    "class N:\n    def __init__(self, v): self.v, self.next = v, None\nh = N(1)\nh.next = N(2)\nwhile h: print(h.v); h = h.next\n",
    "def f(x):\n    return type(x) is int or type(x).__name__ == 'float' or type(x) in (str, list)\n",
    "class A:\n    def copy(self): return type(self)()\n    def __repr__(self): return f'{type(self)}'\nprint(type(A()))\n",
    "from collections import Counter\nclass A:\n    def __init__(self): self.c = Counter()\n    def f(self): return isinstance(self.c, Counter)\nprint(A().c.most_common(1))\n",
    "from collections import namedtuple\nP = namedtuple('P', 'x y')\nprint(P(1, 2).x, P(1, 2)._replace(y=3).y)\n",
    "from dataclasses import dataclass, field\n@dataclass\nclass D:\n    v: int\n    w: list = field(default_factory=list)\nD(1).w.append(D(2).v)\n",
    "from enum import Enum\nclass C(Enum):\n    RED = 1\nprint(C.RED.name, C.RED.value, C['RED'])\n",
    "import re\nm = re.match('(?P<a>.)', 'x')\nprint(m.group('a'), m.span(), m.groupdict())\n",
    "from functools import lru_cache\n@lru_cache(None)\ndef f(n): return n\nf(1)\nf.cache_clear()\n",
    "from fractions import Fraction\nx = Fraction(1, 3)\nprint(x.numerator, x.limit_denominator(5))\n",
    "import datetime\nd = datetime.date(2020, 1, 1)\nprint(d.year, d.strftime('%Y'), (d - d).days)\n",
    "try: int('x')\nexcept ValueError as e: print(e.args)\nprint((3.5).is_integer(), 'a'.upper().join(['b']), 5 .bit_length())\n",
    "import sys\nprint(sys.stdin.buffer.readline().decode(), sys.version_info.major)\nexit(0)\n",
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
HELD = [
    "from dataclasses import MISSING\nt = MISSING\nt.n = 1\n",
    "from dataclasses import MISSING\nMISSING.n = 1\n",
    "import dataclasses\nt = dataclasses.MISSING\nt.n = 1\n",
    "from typing import List\nA = List[int]\nA.__n__ = 1\n",
    "from typing import Counter\nA = Counter[int]\nA.n = 1\n",
    "import typing\nA = typing.Deque[int]\nA.n = 1\n",
    "t = copyright\nt.n = 1\n",
    "def f(self): self.n = 1\nf(quit)\n",
    "for help.n in [1]: pass\n",
    "t = [credits][0]\nt.n = 1\n",
    "from fractions import Fraction\nt = list(map(type, [Fraction()]))[0]\nt.n = 1\n",
    "from fractions import Fraction\ndef g(x): return type(x)\ng(Fraction()).n = 1\n",
    "from fractions import Fraction\nFraction.numerator.fget.n = 1\n",
    "import json\nt = json.JSONDecoder().parse_object\nt.n = 1\n",
    "from json import JSONDecoder\nt = JSONDecoder().parse_array\nt.n = 1\n",
    "from collections import Counter\nclass A:\n    def f(self): self.n = 1\nA.f(Counter)\n",
    "from collections import Counter\nx = Counter.most_common\nx.n = 1\n",
    "from collections import Counter\nx = Counter().most_common\ny = x.__func__\ny.n = 1\n",
    "from pprint import PrettyPrinter\nPrettyPrinter()._dispatch[1] = 1\n",
    "from functools import wraps\ndef g(): pass\nfrom fractions import Fraction\nwraps(g)(Fraction)\n",
    "from dataclasses import dataclass\nfrom fractions import Fraction\ndataclass(Fraction)\n",
    "from enum import Enum\nclass C(Enum):\n    a = 1\nt = type(C)\nt.n = 1\n",
    "from enum import Enum\nEnum.n = 1\n",
    "from contextlib import contextmanager\n@contextmanager\ndef g(): yield\nx = g()\nx.__enter__.__func__.n = 1\n",
    "locals()['__buil' + 'tins__'].n = 1\n",
    "match 1:\n    case int(real=r): pass\nfrom json import JSONDecoder\nmatch JSONDecoder():\n    case JSONDecoder(parse_object=p): p.n = 1\n",
    "from json import JSONDecoder\np = getattr(JSONDecoder(), 'parse_object')\np.n = 1\n",
    "try:\n    exit.foo\nexcept AttributeError as e:\n    e.obj.n = 1\n",
    "try:\n    exit.foo\nexcept AttributeError as e: t = e.obj; t.n = 1\n",
    "import copy\nclass A:\n    def __reduce__(self): return (type, (1,), {'n': 1})\n",
    "from abc import ABC\nt = ABC\nt.n = 1\n",
    "from collections.abc import Sequence\nt = Sequence\nt.n = 1\n",
    "from queue import Queue\nq = Queue()\nt = q.mutex\n",
    "from statistics import mean\nt = mean\nt.n = 1\n",
    "from statistics import mean\nprint(mean([1]))\nd = dict(m=mean)\nd['m'].n = 1\n",
    "from statistics import *\nt = mean\nt.n = 1\n",
    "from heapq import merge\n(lambda f: f)(merge).n = 1\n",
    "from typing import NamedTuple\nt = NamedTuple\nt.n = 1\n",
    "from fractions import Fraction as F\nclass M(type):\n    def __call__(c, x): c.n = 1\nM.__call__(F, 1)\n",
    "from fractions import Fraction as F\nclass A:\n    def __set_name__(self, owner, name): owner.n = 1\nA().__set_name__(F, 1)\n",
    "from fractions import Fraction as F\nf = F()\nif type(f) == F: t = type(f)\nt.n = 1\n",
    "from fractions import Fraction as F\nx = [F]\nx[0].n = 1\n",
    "from fractions import Fraction as F\nx = (F if 1 else 0)\nx.n = 1\n",
    "from fractions import Fraction as F\nx = F == 1 or F\nx.n = 1\n",
    "from fractions import Fraction as F\nx: F = F\nx.n = 1\n",
    "from fractions import Fraction as F\ndef f() -> F: return F\nf().n = 1\n",
    "from fractions import Fraction as F\ndef f(x=F): x.n = 1\n",
    "from fractions import Fraction as F\nisinstance(1, t := F)\nt.n = 1\n",
    "from fractions import Fraction as F\nx = 1 in [t := F]\nt.n = 1\n",
    "from fractions import Fraction as F\nclass A(t := F): pass\nt.n = 1\n",
    "from fractions import Fraction as F\ntry: 1/0\nexcept (t := ZeroDivisionError): pass\nx: (t := F) = 1\nt.n = 1\n",
]
"""Objects that keep what is done to them, reached by another way than their own name."""


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


@pytest.mark.parametrize("source", HELD)
def test_what_keeps_state_is_found_however_it_is_reached(source):
    tree = ast.parse(source)
    assert leaves_state(source, tree) or touches_tracing(source, tree)
