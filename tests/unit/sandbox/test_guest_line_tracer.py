"""Executed lines equal those of a `sys.settrace` run, on this Python and on the guest's own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = '''\
"""Text."""
from functools import lru_cache
import sys

@lru_cache(
    None,
)
def fib(
    n,
    base=1,
):
    """Text."""
    if n < 2:
        return base
    return (
        fib(n - 1)
        + fib(n - 2)
    )

class A:
    x: int = 1
    """More."""
    def f(self):
        global g
        g = 1
        yield from (i for i in range(3)
                    if i)

def never():
    return 1

total = 0
for a in A().f():
    total += a
else:
    total += fib(7)
try:
    with open("/dev/null") as f, \\
         open("/dev/null") as h:
        raise ValueError(
            "x")
except (KeyError,
        ValueError) as e:
    del f
finally:
    h = lambda x: (
        x + 1)
while True:
    if total: pass
    if total > 10: break
    continue
match total:
    case 1 | 2:
        total = 0
    case int() if total > 1:
        total = [
            y
            for y in range(3)
        ]
    case _:
        pass
if 0:
    total = 1
x = 1; y = 2
assert total, (
    "text")
'''

SCRIPT = """
import json, mmap, sys
sys.path.insert(0, {root!r})
from sandbox.guest.line_tracer import LineTracer, lines_with_code
source = {source!r}
code = compile(source, "<program>", "exec")
count = source.count(chr(10))
shared = mmap.mmap(-1, 2 * (count + 2))
tracer = LineTracer(code, memoryview(shared), count + 2)
runs = []
for test in range(2):
    tracer.begin(test)
    exec(code, {{"__name__": "program"}})
    assert tracer.end()
    runs.append([n for n in range(count + 2) if shared[test * (count + 2) + n]])
reference = set()
def on_line(frame, event, arg):
    if event == "line":
        reference.add(frame.f_lineno)
    return on_line
code = compile(source, "<program>", "exec")
sys.settrace(lambda f, *_: on_line if f.f_code.co_filename == "<program>" else None)
exec(code, {{"__name__": "program"}})
sys.settrace(None)
known = lines_with_code(code, count)
print(json.dumps([runs, sorted(reference & known), sorted(known)]))
"""


def pythons() -> list[str]:
    others = [f"python3.{minor}" for minor in (12, 13)]
    found = [
        name
        for name in others
        if subprocess.run(
            ["sh", "-c", f"{name} -c ''"], capture_output=True, check=False
        ).returncode
        == 0
    ]
    return [sys.executable, *found]


@pytest.mark.parametrize("python", pythons())
def test_lines_are_those_that_settrace_sees_and_counted_anew_for_each_test(python):
    script = SCRIPT.format(root=str(ROOT), source=PROGRAM)
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs, reference, known = json.loads(done.stdout)
    assert runs[0] == runs[1] == reference
    assert set(reference) <= set(known)


@pytest.mark.parametrize("python", pythons())
def test_a_program_that_meddles_with_the_tracer_is_noticed(python):
    script = textwrap.dedent("""
        import mmap, sys
        sys.path.insert(0, %r)
        from sandbox.guest.line_tracer import LineTracer
        source = (
            "import sys\\n"
            "if hasattr(sys, 'monitoring'):\\n"
            "    sys.monitoring.register_callback(1, sys.monitoring.events.LINE, None)\\n"
            "else:\\n"
            "    sys.settrace(None)\\n"
        )
        tracer = LineTracer(compile(source, "<p>", "exec"), memoryview(mmap.mmap(-1, 64)), 32)
        tracer.begin(0)
        exec(compile(source, "<q>", "exec"))
        assert not tracer.end()
        """)
    done = subprocess.run(
        [python, "-c", script % str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
