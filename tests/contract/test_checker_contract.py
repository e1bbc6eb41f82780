"""A problem's own checker: what it is given, what it decides, and that no program reaches it."""

from __future__ import annotations

import pytest
from sandbox_cases import call_tests, stdin_tests

from stepcoder_dist.errors import CheckerFault, ProblemError, SandboxFault
from stepcoder_dist.records import Outcome

DIVISOR = """
def check(input, expected, actual):
    try:
        found = int(actual)
    except ValueError:
        return False, 'not a number'
    return 1 < found < int(input) and int(input) % found == 0
"""
"""Any proper divisor will do."""
TESTS = stdin_tests(("12\n", "6\n"), ("35\n", "5\n"), ("49\n", "7\n"), checker=DIVISOR)
SMALLEST = "n = int(input())\nprint(next(d for d in range(2, n) if n % d == 0))\n"
LARGEST = "n = int(input())\nprint(next(d for d in range(n - 1, 1, -1) if n % d == 0))\n"


def test_every_answer_that_the_checker_accepts_is_right(place):
    verdicts = place.judge_all([(SMALLEST, TESTS), (LARGEST, TESTS), ("print(input())", TESTS)])
    assert [v.outcome for v in verdicts] == [Outcome.PASSED, Outcome.PASSED, Outcome.WRONG_ANSWER]
    assert verdicts[2].tests_passed == 0
    assert verdicts[0].executed_lines == {1, 2}


def test_its_reason_is_the_verdicts_detail_and_each_test_is_decided_for_itself(place):
    source = "n = int(input())\nprint(5 if n == 35 else 'five')\n"
    verdict = place.judge(source, TESTS)
    told = [(t.outcome, t.detail) for t in verdict.tests]
    wrong = (Outcome.WRONG_ANSWER, "not a number")
    assert told == [wrong, (Outcome.PASSED, ""), wrong]
    assert verdict.detail == "test 1: not a number"


def test_a_program_that_ends_badly_is_never_checked(place):
    yes = "def check(input, expected, actual):\n    return True\n"
    tests = stdin_tests(("1", "1"), checker=yes)
    sources = {
        "print(1)": Outcome.PASSED,
        "": Outcome.PASSED,
        "print(1)\n1 / 0": Outcome.RUNTIME_ERROR,
        "print(1)\nwhile True: pass": Outcome.TIMEOUT,
        "print(1": Outcome.COMPILE_ERROR,
    }
    verdicts = place.judge_all([(source, tests) for source in sources])
    assert [v.outcome for v in verdicts] == list(sources.values())


def test_return_values_reach_the_checker_as_they_are(place):
    same = (
        "def check(input, expected, actual):\n"
        "    return type(actual) is type(expected) and set(actual) == set(expected)"
        " and input[0] == len(actual)\n"
    )
    tests = call_tests("f", ([3], [3, 1, 2]), checker=same)
    sources = {
        "def f(n): return [1, 2, 3]": Outcome.PASSED,
        "def f(n): return (1, 2, 3)": Outcome.WRONG_ANSWER,
        "def f(n): return [1, 2, 4]": Outcome.WRONG_ANSWER,
        "def f(n): return [object()]": Outcome.WRONG_ANSWER,
        "class E(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def f(n): return [E(), E(), E()]": Outcome.WRONG_ANSWER,
    }
    verdicts = place.judge_all([(source, tests) for source in sources])
    assert [v.outcome for v in verdicts] == list(sources.values())


def test_bytes_that_are_no_text_and_large_output_reach_the_checker(place):
    checker = (
        "def check(input, expected, actual):\n"
        "    return actual == '\\ufffdx' or len(actual) == 900_000\n"
    )
    tests = stdin_tests(("", ""), checker=checker)
    verdicts = place.judge_all(
        [
            ("import sys\nsys.stdout.buffer.write(b'\\xffx')", tests),
            ("print(end='y' * 900_000)", tests),
            ("print(end='y' * 900_001)", tests),
        ]
    )
    assert [v.outcome for v in verdicts] == [
        Outcome.PASSED,
        Outcome.PASSED,
        Outcome.WRONG_ANSWER,
    ]


FAILING = {
    "raises": ("def check(i, e, a):\n    return 1 / 0\n", "ZeroDivisionError: division by zero"),
    "returns nothing": ("def check(i, e, a):\n    pass\n", "neither True nor False"),
    "returns a number": ("def check(i, e, a):\n    return 1\n", "neither True nor False"),
    "never ends": ("def check(i, e, a):\n    while True: pass\n", "time"),
    "takes all memory": ("def check(i, e, a):\n    return bytearray(2**40)\n", "MemoryError"),
    "takes two": ("def check(i, e):\n    return True\n", "takes 2 positional arguments"),
    "leaves": ("import os\ndef check(i, e, a):\n    os._exit(0)\n", "left before the function"),
    "is not there": ("def compare(i, e, a):\n    return True\n", "defines no check"),
    "fails on one answer": ("def check(i, e, a):\n    return int(a) == 1\n", "ValueError"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_checker_that_fails_is_a_fault_and_never_a_verdict(place, name):
    checker, told = FAILING[name]
    tests = stdin_tests(("1", "1"), ("x", "x"), checker=checker)
    before = place.pool.stats.faults
    with pytest.raises(CheckerFault, match=r"the checker failed on test [12]: ") as fault:
        place.judge("print(input())", tests)
    assert told in str(fault.value)
    assert isinstance(fault.value, SandboxFault)
    assert place.pool.stats.faults == before, "another try would end the same way"


def test_a_checker_that_does_not_compile_is_the_problems_mistake(place):
    with pytest.raises(ProblemError, match="its checker does not compile: SyntaxError"):
        place.judge("print(1)", stdin_tests(("1", "1"), checker="def check(:"))


def test_a_hundred_tests_are_checked_and_one_that_dies_beside_others_is_checked_alone(place):
    """State that a checker leaves behind after some cases must not decide about the next ones."""
    checker = (
        "import sys\n"
        "def check(input, expected, actual):\n"
        "    sys.seen = getattr(sys, 'seen', 0) + 1\n"
        "    if sys.seen > 5:\n"
        "        raise RuntimeError\n"
        "    return int(actual) == 2 * int(input)\n"
    )
    pairs = [(f"{n}\n", "") for n in range(100)]
    verdict = place.judge("print(2 * int(input()))", stdin_tests(*pairs, checker=checker))
    assert verdict.outcome is Outcome.PASSED
    assert verdict.tests_passed == 100


SECRET = "s3cr3t-4nsw3r"
SCAN = """
import ctypes, os
needle = ''.join(['s3c', 'r3t-', '4nsw3r']).encode()
own = ''.join(['c0n', 'tr0l']).encode()  # must be found: the scan works
found, works = [], False
with open('/proc/self/maps') as maps:
    lines = maps.read().splitlines()
for line in lines:
    span, rights, *_ = line.split()
    low, high = (int(end, 16) for end in span.split('-'))
    if 'r' not in rights or '[v' in line:
        continue
    for start in range(low, high, 2**20):
        data = ctypes.string_at(start, min(2**20, high - start))
        at = data.find(needle)
        if at >= 0 and ctypes.string_at(start + at, len(needle)) == needle:
            if start + at not in (id(needle) + bytes.__basicsize__ - 1,):
                found.append(line)
        works = works or own in data
        del data
for top in ('/tmp', '/dev/shm', '/var/tmp'):
    for folder, _, files in os.walk(top):
        found += [os.path.join(folder, name) for name in files]
for pid in filter(str.isdigit, os.listdir('/proc')):
    try:
        text = open(f'/proc/{pid}/cmdline', 'rb').read() + open(f'/proc/{pid}/environ', 'rb').read()
    except OSError:
        continue
    if needle in text or b'def check' in text:
        found.append(pid)
print(works, found or 'nothing')
"""


def test_no_program_finds_the_checker_or_what_is_expected(place):
    """Neither beside its own tests nor after another program's."""
    if not place.contained:
        pytest.skip("plain processes are no security boundary")
    keep = (
        "import os\n"
        "def check(input, expected, actual):\n"
        "    open('/tmp/kept', 'w').write(expected)\n"
        f"    return expected == {SECRET!r} and actual == 'True nothing\\n'\n"
    )
    tests = stdin_tests(*[("1\n", SECRET)] * 3, checker=keep)
    verdicts = place.judge_all([(SCAN, tests)] * 6)
    assert [(v.outcome, v.detail) for v in verdicts] == [(Outcome.PASSED, "")] * 6


def test_a_program_leaves_nothing_that_its_checker_would_run_or_read(place):
    """Files that shadow modules, patched builtins, start-up hooks: gone before the checker runs."""
    if not place.contained:
        pytest.skip("plain processes are no security boundary")
    source = (
        "import builtins, os, sys\n"
        "for name in ('json', 'math', 'sitecustomize', 'usercustomize'):\n"
        "    for folder in ('/tmp', '/dev/shm', '.'):\n"
        "        with open(f'{folder}/{name}.py', 'w') as file:\n"
        "            file.write('import os\\nos._exit(0)\\n')\n"
        "builtins.int = lambda text: 6\n"
        "os.environ['PYTHONPATH'] = '/tmp'\n"
        "print('x')\n"
    )
    checker = (
        "import json, math, os\n"
        "def check(input, expected, actual):\n"
        "    assert not os.listdir('/tmp') and not os.listdir('/dev/shm')\n"
        "    return math.isclose(json.loads(input), int('7')) and actual == '6\\n'\n"
    )
    verdict = place.judge(source, stdin_tests(("7", "6"), checker=checker))
    assert (verdict.outcome, verdict.detail) == (
        Outcome.WRONG_ANSWER,
        "test 1: expected '6', got 'x\\n'",
    )
