# ruff: noqa: E501 - a program a line
"""Kinds of programs that once had a wrong verdict."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from sandbox_cases import call_tests, stdin_tests
from script_cases import script

from sandbox.endings import ending
from sandbox.guest_link import RunReport
from sandbox.orders import order_for
from stepcoder_dist.records import Limits, Outcome

PASSED, WRONG, FAILED, LATE = (
    Outcome.PASSED,
    Outcome.WRONG_ANSWER,
    Outcome.RUNTIME_ERROR,
    Outcome.TIMEOUT,
)
BURN = "import os, time\ndef burn(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n"
ADD = call_tests("add", ([1, 2], 3), ([4, 5], 9))

PROGRAMS = {
    "an exit code that is no C integer": ("import sys\nprint(input())\nsys.exit(2**100)\n", stdin_tests(("1\n", "1\n")), FAILED),
    "a negative one": ("import sys\nprint(input())\nsys.exit(-(2**64))\n", stdin_tests(("1\n", "1\n")), FAILED),
    "an exit code of which the system keeps nothing": ("import sys\nprint(input())\nsys.exit(256)\n", stdin_tests(("1\n", "1\n")), PASSED),
    "a small recursion limit": ("import sys\nsys.setrecursionlimit(9)\nprint(input())\n", stdin_tests(("1\n", "1\n")), PASSED),
    "the usual recursion limit": ("import sys\nprint(sys.getrecursionlimit())\n", stdin_tests(("", "1000\n")), PASSED),
    "a recursion limit of its own": ("import sys\nsys.setrecursionlimit(77)\nprint(sys.getrecursionlimit())\n", stdin_tests(("", "77\n")), PASSED),
    "a method bound when it is made": ("class Solution:\n    def __init__(self):\n        self.add = lambda a, b: a + b\n", ADD, PASSED),
    "a method made when it is asked for": ("class Solution:\n    def __getattr__(self, name):\n        if name != 'add': raise AttributeError(name)\n        return lambda a, b: a + b\n", ADD, PASSED),
    "a Solution without it": ("class Solution:\n    pass\n", ADD, FAILED),
    "a function next to a Solution": ("class Solution:\n    pass\ndef add(a, b):\n    return a + b\n", ADD, PASSED),
    "an expression": ("class Adder:\n    def add(self, a, b):\n        return a + b\n", call_tests("Adder().add", ([1, 2], 3)), PASSED),
    "an attribute of a module": ("import operator as o\n", call_tests("o.add", ([1, 2], 3)), PASSED),
    "a Decimal": ("from decimal import Decimal\ndef add(a, b):\n    return Decimal(a) + b\n", ADD, PASSED),
    "a Decimal within the tolerance": ("from decimal import Decimal\ndef add(a, b):\n    return [Decimal('0.1') + Decimal('0.2')]\n", call_tests("add", ([1, 2], [0.3])), PASSED),
    "a Fraction": ("from fractions import Fraction\ndef add(a, b):\n    return {Fraction(a, b): Fraction(4, 2)}\n", call_tests("add", ([1, 2], {0.5: 2})), PASSED),
    "another Fraction": ("from fractions import Fraction\ndef add(a, b):\n    return Fraction(a, b)\n", ADD, WRONG),
    "a Decimal that is no number": ("from decimal import Decimal\ndef add(a, b):\n    return Decimal('sNaN')\n", ADD, WRONG),
    "a Decimal of a billion digits": ("from decimal import Decimal\ndef add(a, b):\n    return Decimal('1E+999999999')\n", ADD, WRONG),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs_from_the_field_end_as_under_python_itself(place, kind):
    source, tests, outcome = PROGRAMS[kind]
    verdict = place.judge(source, tests)
    assert verdict.outcome is outcome, verdict.detail


def test_integers_of_many_digits_are_printed_and_read(place):
    many = "7" * 6000
    source = "n = int(input())\nprint(n + 1)\n"
    assert place.judge(source, stdin_tests((f"{many}\n", f"{many[:-1]}8\n"))).outcome is PASSED
    wrong = place.judge(source, stdin_tests((f"{many}\n", f"{many}\n")))
    assert wrong.outcome is WRONG


IN_CHILDREN = {
    "next to each other": "for _ in range(4):\n    if os.fork() == 0:\n        burn(0.4)\n        os._exit(0)\nfor _ in range(4): os.wait()\nprint(4)\n",
    "one after the other": "for _ in range(4):\n    if os.fork() == 0:\n        burn(0.4)\n        os._exit(0)\n    os.wait()\nprint(4)\n",
    "a chain": "def link(n):\n    if n and os.fork() == 0:\n        burn(0.4)\n        link(n - 1)\n        os._exit(0)\n    if n: os.wait()\nlink(4)\nprint(4)\n",
}


@pytest.mark.parametrize("kind", IN_CHILDREN)
def test_the_time_of_child_processes_counts(place, kind):
    tests = stdin_tests(("", "4\n"), cpu_limit_s=1.0)
    assert place.judge(BURN + IN_CHILDREN[kind], tests).outcome is LATE


def test_children_that_take_little_time_do_no_harm(place):
    source = BURN + "if os.fork() == 0:\n    burn(0.1)\n    os._exit(0)\nos.wait()\nprint(4)\n"
    assert place.judge(source, stdin_tests(("", "4\n"), cpu_limit_s=1.0)).outcome is PASSED


def test_the_time_of_children_that_nobody_waits_for_counts_in_a_container(place):
    if not place.contained:
        pytest.skip("without a container nobody keeps their account")
    source = (
        BURN
        + "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        + "for _ in range(4):\n    if os.fork() == 0:\n        burn(0.4)\n        os._exit(0)\n"
        + "    try: os.wait()\n    except ChildProcessError: pass\nprint(4)\n"
    )
    assert place.judge(source, stdin_tests(("", "4\n"), cpu_limit_s=1.0)).outcome is LATE


MONEY = """\
class Money:
    def __init__(self, cents, notes=()): self.cents, self.notes = cents, list(notes)
    def __eq__(self, other): return isinstance(other, Money) and self.cents == other.cents
    def __hash__(self): return hash(self.cents)
    def __lt__(self, other): return self.cents < other.cents
    def __le__(self, other): return self.cents <= other.cents
    def __add__(self, other): return Money(self.cents + other.cents)
    def __iadd__(self, other): self.cents += other.cents; return self
    def __sub__(self, other): return Money(self.cents - other.cents)
    def __mul__(self, times): return Money(self.cents * times)
    __rmul__ = __mul__
    def __floordiv__(self, parts): return Money(self.cents // parts)
    def __mod__(self, parts): return self.cents % parts
    def __divmod__(self, parts): return self // parts, self % parts
    def __pow__(self, power, modulo=None): return pow(self.cents, power, modulo)
    def __matmul__(self, other): return self.cents * other.cents
    def __or__(self, other): return Money(max(self.cents, other.cents))
    def __neg__(self): return Money(-self.cents)
    def __abs__(self): return Money(abs(self.cents))
    def __invert__(self): return Money(~self.cents)
    def __round__(self, digits=0): return Money(round(self.cents, digits))
    def __int__(self): return self.cents
    def __float__(self): return self.cents / 100
    def __index__(self): return self.cents
    def __complex__(self): return complex(self.cents)
    def __str__(self): return f'{self.cents / 100:.2f}'
    def __repr__(self): return f'Money({self.cents})'
    def __format__(self, spec): return format(self.cents / 100, spec)
    def __bytes__(self): return b'money'
    def __bool__(self): return self.cents != 0
    def __len__(self): return len(self.notes)
    def __iter__(self): return iter(self.notes)
    def __reversed__(self): return reversed(self.notes)
    def __getitem__(self, place): return self.notes[place]
    def __setitem__(self, place, note): self.notes[place] = note
    def __delitem__(self, place): del self.notes[place]
    def __enter__(self): self.open = True; return self
    def __exit__(self, kind, error, trace): self.open = False; return kind is ValueError
    def __call__(self, cents=0, *, more=0): return self.cents + cents + more
class Purse:
    def __contains__(self, cents): return cents in (1, 5)
class Steps:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        self.n -= 1
        if self.n < 0: raise StopIteration
        return self.n
"""
USES = [
    "a = candidate(250)\nb = candidate(100)\nassert a + b == candidate(350) and a - b == candidate(150)",
    "a = candidate(250)\nassert a != candidate(1) and not a == candidate(1) and a != 250",
    "a = candidate(250)\nb = candidate(100)\nassert b < a and b <= a and a > b and a >= b and sorted([a, b])[0] == b",
    "a = candidate(250)\nassert a * 2 == candidate(500) == 2 * a and a // 2 == candidate(125) and a % 100 == 50",
    "a = candidate(250)\nassert divmod(a, 100)[1] == 50 and a ** 2 == 62500 and pow(a, 2, 7) == 62500 % 7",
    "a = candidate(250)\na += candidate(5)\nassert a.cents == 255 and a @ a == 255 ** 2 and a | candidate(900) == candidate(900)",
    "a = candidate(-250)\nassert -a == abs(a) == candidate(250) and ~a == candidate(249) and round(a, -2) == candidate(-200)",
    "a = candidate(250)\nassert int(a) == 250 and float(a) == 2.5 and complex(a) == 250 and hex(a) == '0xfa' and bytes(a) == b'money'",
    "a = candidate(250)\nassert str(a) == '2.50' and repr(a) == 'Money(250)' and f'{a:.1f}' == '2.5'",
    "a = candidate(250)\nassert bool(a) and not candidate(0) and hash(a) == 250 and len({a, candidate(250)}) == 1",
    "a = candidate(1, [5, 6, 7])\nassert len(a) == 3 and list(a) == [5, 6, 7] and list(reversed(a)) == [7, 6, 5] and a[1] == 6 and 6 in a and 9 not in a",
    "a = candidate(1, [5, 6, 7])\na[0] = 9\ndel a[1]\nassert list(a) == [9, 7]",
    "a = candidate(1)\na.cents = 7\nassert a.cents == 7\ndel a.cents\ntry:\n    a.cents\n    assert False\nexcept AttributeError: pass",
    "a = candidate(1)\nwith a as b:\n    assert b.open and b == a\n    raise ValueError\nassert not a.open",
    "a = candidate(1)\nassert a(2) == 3 and a(2, more=4) == 7 and isinstance(a, candidate) and not isinstance(3, candidate)",
    "assert 5 in Purse() and 2 not in Purse()",
    "s = Steps(3)\nassert next(s) == 2 and list(s) == [1, 0]\ntry:\n    next(Steps(0))\n    assert False\nexcept StopIteration: pass",
]


def test_a_script_uses_objects_of_the_program_in_every_way_that_a_class_can_define(place):
    suites = [script(f"{use}\ncandidate(1)\n", "Money") for use in USES]
    verdicts = place.judge_all([(MONEY, suite) for suite in suites])
    assert [(use, v.detail) for use, v in zip(USES, verdicts, strict=True) if v.detail] == []


AGREES = (
    "class Yes:\n"
    + "".join(
        f"    def __{name}__(self, *other): return {value}\n"
        for name, value in [
            *((n, "0") for n in ("sub", "rsub", "truediv", "rtruediv", "xor", "rxor", "abs")),
            *((n, "True") for n in ("eq", "lt", "le", "gt", "ge", "contains")),
            ("ne", "False"),
        ]
    )
    + "def f(n):\n    return Yes()\n"
)


@pytest.mark.parametrize(
    "test",
    [
        "assert abs(f(1) - 2.5) < 1e-9",
        "assert abs(2.5 - f(1)) < 1e-9",
        "assert f(1) / 2.5 == 0",
        "assert f(1) ^ 5 == 0",
        "assert f(1) == 2.5",
        "assert not f(1) != 2.5",
        "assert 1 < f(1) < 3",
        "assert 3 >= f(1) >= 3",
        "assert f(1) in [2.5]",
    ],
)
def test_an_object_that_agrees_to_everything_does_not_pass(place, test):
    assert place.judge(AGREES, script(f"{test}\n")).outcome is not PASSED


def test_keyword_arguments_reach_the_program(place):
    source = "class Solution:\n    def add(self, a, b):\n        return a - b\n"
    suite = script("def check(candidate):\n    assert candidate(b=1, a=5) == 4\n", "Solution().add")
    assert place.judge(source, suite).outcome is PASSED


def test_the_kernels_own_limit_of_processor_time_is_a_time_out():
    killed = dataclasses.replace(
        RunReport.lost_for_memory(order_for(Limits(), [b"", b""])),
        memory_kills=0,
        status=-signal.SIGKILL,
        cpu_ns=6 * 10**9,
    )
    assert ending(killed, 0, Limits(cpu_s=4), called=False).outcome is LATE
    early = dataclasses.replace(killed, cpu_ns=10**9)
    assert ending(early, 0, Limits(cpu_s=4), called=False).outcome is FAILED
