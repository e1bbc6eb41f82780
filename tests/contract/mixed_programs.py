# ruff: noqa: ISC004 - a program is one text
"""A seeded mix of programs as a policy writes them, each with the verdict that it must have.

Right and wrong ladder programs, typed calls, errors, endless loops and sleeps, memory, floods.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sandbox_cases import call_tests, stdin_tests

from stepcoder_dist.problems import ladder
from stepcoder_dist.records import Outcome, TestSuite


@dataclass(frozen=True, slots=True)
class Mixed:
    name: str
    source: str
    tests: TestSuite
    outcome: Outcome


CALLS = (
    (
        "def f(numbers: list[float], t: float) -> bool:\n"
        "    numbers = sorted(numbers)\n"
        "    return any(b - a < t for a, b in zip(numbers, numbers[1:]))\n",
        call_tests("f", ([[1.0, 2.0, 3.0], 0.5], False), ([[1.0, 2.8, 3.0], 0.3], True)),
    ),
    (
        "def f(text):\n"
        "    groups, depth, start = [], 0, 0\n"
        "    for i, c in enumerate(text):\n"
        "        depth += {'(': 1, ')': -1}.get(c, 0)\n"
        "        if not depth and c == ')':\n"
        "            groups.append(text[start:i + 1])\n"
        "            start = i + 1\n"
        "    return groups\n",
        call_tests("f", (["()(())"], ["()", "(())"]), ([""], [])),
    ),
    (
        "from collections import Counter\n"
        "class Solution:\n"
        "    def f(self, words):\n"
        "        return Counter(words).most_common(2)\n",
        call_tests("f", ([["a", "b", "a", "b", "a"]], [["a", 3], ["b", 2]])),
    ),
    (
        "def f(n):\n"
        "    sieve = bytearray([1]) * (n + 1)\n"
        "    for i in range(2, int(n ** 0.5) + 1):\n"
        "        if sieve[i]:\n"
        "            sieve[i * i::i] = bytes(len(range(i * i, n + 1, i)))\n"
        "    return sum(sieve[2:])\n",
        call_tests("f", ([10], 4), ([100000], 9592), ([2], 1)),
    ),
)
ECHO = stdin_tests(("3\n", "6\n"), ("5\n", "10\n"))
ONCE = stdin_tests(("3\n", "6\n"))
RARE = (
    ("1 // 0\n", Outcome.RUNTIME_ERROR),
    ("def f(): f()\nf()\n", Outcome.RUNTIME_ERROR),
    ("import sys\nprint(6)\nsys.exit(3)\n", Outcome.RUNTIME_ERROR),
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", Outcome.RUNTIME_ERROR),
    ("print(undefined)\n", Outcome.RUNTIME_ERROR),
    ("for i in range(3) print(i)\n", Outcome.COMPILE_ERROR),
    ("print(int(input()) * 3)\n", Outcome.WRONG_ANSWER),
    ("t = 0\nfor i in range(300_000):\n    t += i\nprint(int(input()) * 2)\n", Outcome.PASSED),
    ("import time\ntime.sleep(0.05)\nprint(int(input()) * 2)\n", Outcome.PASSED),
    ("import threading\nt = threading.Thread(target=lambda: print(2 * int(input())))\n"
     "t.start()\nt.join()\n", Outcome.PASSED),
    ("x = bytearray(10**9)\n", Outcome.OUT_OF_MEMORY),
    ("x = []\nwhile True:\n    x.append(bytearray(2**20))\n", Outcome.OUT_OF_MEMORY),
    ("while True:\n    print('flood' * 1000)\n", Outcome.OUTPUT_LIMIT),
    ("import os\nwhile os.write(1, bytes(2**16)):\n    pass\n", Outcome.OUTPUT_LIMIT),
)  # fmt: skip
SLOW = (
    ("while True:\n    pass\n", Outcome.TIMEOUT),
    ("n = int(input())\nwhile n:\n    n += 1\n", Outcome.TIMEOUT),
    ("import time\ntime.sleep(1e6)\n", Outcome.TIMEOUT),
    ("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n",
     Outcome.TIMEOUT),
)  # fmt: skip


def mixed(count: int, *, seed: int) -> list[Mixed]:
    """So many programs: 55% ladder, 15% typed calls, 28% of `RARE`, 2% of `SLOW`."""
    rng = random.Random(seed)
    problems = ladder.problems("train", seed=seed, count=200)
    made = []
    for number in range(count):
        kind = rng.random()
        if kind < 0.55:
            problem = rng.choice(problems)
            source, tests, outcome = str(problem.reference), problem.tests, Outcome.PASSED
            if kind < 0.1:  # what it answers is never what is expected
                outputs = tuple(10**9 for _ in tests.outputs)
                if tests.fn_name is None:
                    outputs = tuple(f"{o}\n" for o in outputs)
                tests = TestSuite(inputs=tests.inputs, outputs=outputs, fn_name=tests.fn_name)
                outcome = Outcome.WRONG_ANSWER
        elif kind < 0.70:
            source, tests = rng.choice(CALLS)
            outcome = Outcome.PASSED
        else:
            source, outcome = rng.choice(RARE if kind < 0.98 else SLOW)
            tests = ECHO if kind < 0.98 else ONCE
        made.append(Mixed(f"{number}", f"# {number}\n{source}", tests, outcome))
    return made
