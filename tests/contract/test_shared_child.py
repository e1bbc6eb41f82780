# ruff: noqa: E501 - programs
"""A process per test is the semantics: sharing one child never shows in a verdict."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings, strategies as st
from sandbox_cases import stdin_tests

from sandbox import judging
from sandbox.process_pool import ProcessPool
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.records import TestSuite, Verdict

CONFIG = SandboxConfig(
    containers=1,
    cpu_limit_s=0.5,
    wall_limit_s=30.0,  # which clock ends a loop must not depend on what else the machine does
    memory_limit_mib=128,
    output_limit_mib=1,
    attempts=2,
)

COUNTERS = {
    "module": ("import math", "math.n = getattr(math, 'n', 0) + 1", "math.n"),
    "module by another name": ("import math as m", "k = m; k.n = getattr(k, 'n', 0) + 1", "k.n"),
    "class": (
        "from collections import Counter",
        "C = Counter; C.n = getattr(C, 'n', 0) + 1",
        "Counter.n",
    ),
    "class found by star": (
        "from collections import *",
        "Counter.n = getattr(Counter, 'n', 0) + 1",
        "Counter.n",
    ),
    "class of an object": (
        "from fractions import Fraction",
        "f = Fraction(1); type(f).n = getattr(f, 'n', 0) + 1",
        "f.n",
    ),
    "base class": (
        "from fractions import Fraction",
        "class F(Fraction): pass\nF.__base__.n = getattr(F, 'n', 0) + 1",
        "F.n",
    ),
    "module's own table": (
        "import json",
        "json.encoder.ESCAPE_DCT.update({len(json.encoder.ESCAPE_DCT): 1})",
        "len(json.encoder.ESCAPE_DCT)",
    ),
    "module's own table by another name": (
        "from json.encoder import ESCAPE_DCT",
        "k = ESCAPE_DCT; k.update({len(k): 1})",
        "len(k)",
    ),
    "frame of a generator": (
        "",
        "g = (0 for _ in [0]); b = g.gi_frame.f_builtins; b['n'] = b.get('n', 0) + 1",
        "n",
    ),
    "builtins": ("import builtins", "builtins.n = getattr(builtins, 'n', 0) + 1", "n"),
    "patched builtin": (
        "import builtins",
        "n = len('') + 1; builtins.len = lambda x: n",
        "n",
    ),
    "sys.modules": (
        "import sys",
        "n = 1 + ('mine' in sys.modules); sys.modules['mine'] = sys",
        "n",
    ),
    "recursion limit": (
        "import sys",
        "sys.setrecursionlimit(sys.getrecursionlimit() + 7)",
        "sys.getrecursionlimit() > 1010",
    ),
    "digits of integers": (
        "import sys",
        "n = len(str(10 ** 4000)); sys.set_int_max_str_digits(n and 2000)",
        "n",
    ),
    "environment": (
        "import os",
        "os.environ.update(N=os.environ.get('N', '') + 'x')",
        "len(os.getenv('N'))",
    ),
    "working folder": ("import os", "os.mkdir('d'); os.chdir('d')", "os.getcwd().count('/d')"),
    "file": ("import os", "o = open; o('f', 'a').write('x')", "os.stat('f').st_size"),
    "descriptor": ("import os", "n = os.open('/dev/null', 0)", "n"),
    "signal handler": (
        "import signal",
        "n = signal.signal(signal.SIGUSR1, print) is print",
        "n",
    ),
    "file mode mask": ("import os", "n = os.umask(0)", "n"),
    "exit handler": (
        "import atexit, sys",
        "n = getattr(sys, 'n', 0); atexit.register(lambda: vars(sys).update(n=n + 1))",
        "n",
    ),
    "thread": (
        "import threading, time",
        "n = threading.active_count(); threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "n",
    ),
    "random": ("import random", "random.seed(int(random.random() < 0))", "random.random() < 1"),
    "standard streams": ("import sys", "n = sys.stdin is sys.__stdin__; sys.stdin = None", "n"),
    "arguments": ("import sys", "sys.argv.append('x')", "len(sys.argv)"),
    "exceptions": ("", "try:\n    1 / 0\nexcept ZeroDivisionError as e: pass", "'e' in dir()"),
    "own class and function": (
        "",
        "class A: n = 0\nA.n += 1\ndef f(x=[]): x.append(1); return len(x)",
        "(A.n, f())",
    ),
    "cache": (
        "from functools import lru_cache",
        "c = []\n@lru_cache\ndef f(x): c.append(x); return x\nf(1); f(1)",
        "len(c)",
    ),
    "garbage": (
        "import gc",
        "n = gc.isenabled(); gc.disable()",
        "n",
    ),
    "exit": ("", "k = exit; k.n = getattr(k, 'n', 0) + 1", "k.n"),
    "licence": ("", "k = [license]; k[0].n = getattr(k[0], 'n', 0) + 1", "k[0].n"),
    "type reached through an object": (
        "from collections import Counter",
        "k = type(Counter()); k.n = getattr(k, 'n', 0) + 1",
        "k.n",
    ),
    "type of a context": (
        "from contextlib import contextmanager",
        "k = type(contextmanager(lambda: (yield))()); k.n = getattr(k, 'n', 0) + 1",
        "k.n",
    ),
    "no default": (
        "from dataclasses import make_dataclass, fields",
        "k = fields(make_dataclass('D', ['v']))[0].default; k.n = getattr(k, 'n', 0) + 1",
        "k.n",
    ),
    "exception that was caught": (
        "import json",
        "try: json.loads('{')\nexcept ValueError as e: k = type(e); k.n = getattr(k, 'n', 0) + 1",
        "k.n",
    ),
    "generic alias": (
        "from typing import List",
        "k = List[int]; k.__n__ = getattr(k, '__n__', 0) + 1",
        "k.__n__",
    ),
    "function of an object": (
        "from json import JSONDecoder",
        "k = JSONDecoder().parse_object; k.n = getattr(k, 'n', 0) + 1",
        "k.n",
    ),
    "passed on as self": (
        "from collections import Counter",
        "def count(self): self.n = getattr(self, 'n', 0) + 1\ncount(Counter)",
        "Counter.n",
    ),
    "hidden from a look": (
        "import sys",
        "n = eval('__imp' + 'ort__')('math'); n.n = getattr(n, 'n', 0) + 1",
        "n.n",
    ),
}  # fmt: skip
ENDS = ["", "1 / (int(w) - 2)", "sys.exit(int(w) == 2)", "while w == '3': pass"]


@pytest.fixture(scope="module")
def judge() -> Iterator[Callable[[str, TestSuite], Verdict]]:
    with asyncio.Runner() as runner, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pool = ProcessPool(CONFIG)
        runner.run(pool.start())
        yield lambda source, tests: runner.run(pool.judge(source, tests, problem_id="shared"))
        runner.run(pool.close())


def program(kinds: list[str], end: str, *, reads: bool) -> str:
    """Counts in each of these ways how often it has run in its process, and prints that."""
    parts = [COUNTERS[kind] for kind in kinds]
    lines = ["import sys", "w = input()" if reads else "w = '0'"]
    lines += [line for imports, change, _ in parts for line in (imports, change)]
    return "\n".join([*lines, f"print({', '.join(shown for *_, shown in parts)})", end, ""])


def same_alone_and_together(
    judge: Callable[[str, TestSuite], Verdict], source: str, outputs: tuple[str, ...]
) -> None:
    tests = stdin_tests(*((f"{n}\n", output) for n, output in enumerate(outputs)))
    together = judge(source, tests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "TESTS_PER_CHILD", 1)
        alone = judge(source, tests)
    seen, wanted = (
        [(t.outcome, t.detail, sorted(t.executed_lines)) for t in verdict.tests]
        for verdict in (together, alone)
    )
    assert seen == wanted, source


@pytest.mark.parametrize("kind", COUNTERS)
def test_a_program_that_counts_its_runs_counts_one_in_every_test(judge, kind):
    # the second and third count: right in a process that has run the program before
    shown = [f"{n}\n" for n in (1, 2, 3)]
    same_alone_and_together(judge, program([kind], "", reads=False), tuple(shown))
    same_alone_and_together(judge, program([kind], "", reads=False), ("1\n", "1\n", "1\n"))


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(sorted(COUNTERS)), min_size=1, max_size=4, unique=True),
    end=st.sampled_from(ENDS),
    counted=st.lists(st.integers(0, 3), min_size=2, max_size=4),
)
def test_sharing_a_child_equals_a_process_for_each_test(judge, kinds, end, counted):
    outputs = tuple(" ".join([str(n)] * len(kinds)) + "\n" for n in counted)
    same_alone_and_together(judge, program(kinds, end, reads=True), outputs)
