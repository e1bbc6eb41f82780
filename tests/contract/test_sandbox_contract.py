"""What every sandbox does: one suite, run on containers and on plain processes."""

from __future__ import annotations

import asyncio

import pytest
from hostile_programs import HOSTILE_VALUES
from sandbox_cases import (
    CALLS,
    ONE,
    OUTCOMES,
    READING,
    STATEFUL,
    SUM,
    WRITING,
    call_tests,
    stdin_tests,
)

from stepcoder_dist.errors import ProblemError
from stepcoder_dist.method.coverage_mask import kept_lines
from stepcoder_dist.records import Answer, Outcome, TestSuite, Verdict


def test_standard_input_can_be_read_in_every_way(place):
    verdicts = place.judge_all([(source, SUM) for source in READING.values()])
    shown = {name: (v.outcome.value, v.detail) for name, v in zip(READING, verdicts, strict=True)}
    assert shown == dict.fromkeys(READING, ("passed", ""))


def test_standard_input_comes_with_its_own_line_ends(place):
    tests = stdin_tests(("a\r\nb\rc\n", "['a\\r\\n', 'b\\rc\\n']\n"))
    verdict = place.judge("import sys\nprint(sys.stdin.readlines())\n", tests)
    assert (verdict.outcome, verdict.detail) == (Outcome.PASSED, "")


def test_standard_output_can_be_written_in_every_way(place):
    verdicts = place.judge_all([(source, SUM) for source in WRITING.values()])
    shown = {name: (v.outcome.value, v.detail) for name, v in zip(WRITING, verdicts, strict=True)}
    assert shown == dict.fromkeys(WRITING, ("passed", ""))


def test_every_outcome_is_told_by_its_name(place):
    verdicts = place.judge_all([(source, ONE) for source, _ in OUTCOMES.values()])
    shown = {
        name: (v.outcome, v.detail if v.outcome is not wanted else "")
        for (name, (_, wanted)), v in zip(OUTCOMES.items(), verdicts, strict=True)
    }
    assert shown == {name: (wanted, "") for name, (_, wanted) in OUTCOMES.items()}


def test_functions_are_called_with_typed_plain_data(place):
    verdicts = place.judge_all([(source, tests) for source, tests, _ in CALLS.values()])
    shown = {
        name: (v.outcome, v.detail if v.outcome is not wanted else "")
        for (name, (_, _, wanted)), v in zip(CALLS.items(), verdicts, strict=True)
    }
    assert shown == {name: (wanted, "") for name, (_, _, wanted) in CALLS.items()}


def test_the_worst_test_is_the_programs_outcome_and_all_tests_run(place):
    source = "n = int(input())\nif n == 2:\n    1 / 0\nif n == 3:\n    while True: pass\nprint(n)\n"
    verdict = place.judge(
        source, stdin_tests(("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"), ("5", "6"))
    )
    assert [t.outcome.value for t in verdict.tests] == [
        "passed",
        "runtime_error",
        "timeout",
        "passed",
        "wrong_answer",
    ]
    assert verdict.outcome is Outcome.TIMEOUT
    assert verdict.tests_passed == 2
    assert verdict.detail == "test 2: ZeroDivisionError: division by zero (line 3)"
    # what credit.rule = "rltf" reads
    assert verdict.tests[1].detail == "ZeroDivisionError: division by zero (line 3)"


def test_executed_lines_are_told_for_each_test_and_survive_every_end(place):
    source = (
        "import os\n"
        "n = int(input())\n"
        "if n == 1:\n"
        "    print(1)\n"
        "elif n == 2:\n"
        "    os.kill(os.getpid(), 9)\n"
        "elif n == 3:\n"
        "    os._exit(0)\n"
        "elif n == 4:\n"
        "    while True:\n"
        "        pass\n"
        "elif n == 6:\n"
        "    import ctypes\n"
        "    ctypes.string_at(0)\n"
        "else:\n"
        "    if os.fork() == 0:\n"
        "        print(5)\n"
        "    else:\n"
        "        os.wait()\n"
    )
    verdict = place.judge(
        source, stdin_tests(("1", "1"), ("2", "2"), ("3", "3"), ("4", "4"), ("5", "5"), ("6", "6"))
    )
    assert [t.outcome.value for t in verdict.tests] == [
        "passed",
        "runtime_error",
        "wrong_answer",
        "timeout",
        "passed",
        "runtime_error",
    ]
    assert verdict.detail == "test 2: killed by SIGKILL"
    assert [sorted(t.executed_lines) for t in verdict.tests] == [
        [1, 2, 3, 4],
        [1, 2, 3, 5, 6],
        [1, 2, 3, 5, 7, 8],
        [1, 2, 3, 5, 7, 9, 10, 11],
        [1, 2, 3, 5, 7, 9, 12, 16, 17, 19],
        [1, 2, 3, 5, 7, 9, 12, 13, 14],
    ]


def test_kept_lines_follow_statements(place):
    source = (
        "def used(x):\n"
        '    """Text\n'
        '    of two lines."""\n'
        "    # a comment\n"
        "    return (\n"
        "        x\n"
        "    )\n"
        "\n"
        "\n"
        "def unused(x):\n"
        "    # another\n"
        "    return x\n"
        "\n"
        "if used(1):\n"
        "    print(1)\n"
        "else:\n"
        "    print(2)\n"
    )
    verdict = place.judge(source, ONE)
    assert verdict.structure is not None
    assert sorted(kept_lines(verdict.structure, verdict.executed_lines)) == [
        *range(1, 11),
        13,
        14,
        15,
    ]


def test_a_program_that_does_not_compile_has_no_tests_and_no_structure(place):
    verdict = place.judge("x = 1\nif x\n", ONE)
    assert verdict.tests == ()
    assert verdict.structure is None
    assert verdict.detail == "SyntaxError: expected ':' (program.py, line 2)"


def test_input_and_output_of_ten_megabytes_go_through(place):
    tests = TestSuite(inputs=("7" * 10_000_000,), outputs=("10000000\n",), memory_limit_bytes=2**29)
    assert place.judge("print(len(input()))\n", tests).outcome is Outcome.PASSED


def test_inputs_of_many_tests_do_not_count_as_the_programs_memory(place):
    tests = stdin_tests(*[("7" * 9_000_000, "9000000\n")] * 12)
    source = "x = bytearray(b'x') * 60_000_000\nprint(len(input()))\n"
    assert place.judge(source, tests).outcome is Outcome.PASSED


def test_memory_and_output_over_their_limits_are_told_by_what_was_exceeded(place):
    verdicts = place.judge_all(
        [
            ("import os\nos.write(1, b'y' * 2**20)\nos.write(1, b'y')\n", ONE),
            ("print('y' * 2**20, end='')\n", ONE),
            ("x = [0] * 10**9\n", ONE),
            ("def f(n):\n    return bytearray(10**10)\n", call_tests("f", ([1], 1))),
            ("def f(n):\n    return 'y' * 2**21\n", call_tests("f", ([1], 1))),
        ]
    )
    assert [(v.outcome.value, v.detail.partition(": ")[2]) for v in verdicts] == [
        ("output_limit", "wrote more than 1048576 bytes"),
        ("wrong_answer", verdicts[1].detail.partition(": ")[2]),
        ("out_of_memory", "MemoryError (line 1)"),
        ("out_of_memory", "MemoryError (line 2)"),
        ("output_limit", "the return value is over the output limit"),
    ]


def test_a_programs_words_come_without_what_a_terminal_would_obey(place):
    escapes = "class A: pass\nA.__name__ = '\\x1b[2J'\n"
    verdicts = place.judge_all(
        [
            ("raise ValueError('\\x1b[2J\\x07')\n", ONE),
            (escapes + "def f(n):\n    return A()\n", call_tests("f", ([1], 1))),
        ]
    )
    assert [v.detail for v in verdicts] == [
        "test 1: ValueError: \ufffd[2J\ufffd (line 1)",
        "test 1: expected 1, got <\ufffd[2J object>",
    ]


def test_a_hundred_tests_are_judged_in_order(place):
    tests = stdin_tests(*((str(n), str(n if n != 70 else -1)) for n in range(100)))
    verdict = place.judge("print(input())\n", tests)
    assert [i for i, t in enumerate(verdict.tests) if t.outcome is not Outcome.PASSED] == [70]


def test_a_fresh_process_for_each_test_is_what_a_program_sees(place):
    tests = stdin_tests(*[("1", "1")] * 3)
    verdicts = place.judge_all([(source, tests) for source in STATEFUL.values()])
    shown = {name: (v.outcome.value, v.detail) for name, v in zip(STATEFUL, verdicts, strict=True)}
    assert shown == dict.fromkeys(STATEFUL, ("passed", ""))


def test_sources_that_touch_tracing_machinery_are_not_trusted(place):
    touching = [
        "import sys\nsys.settrace(None)\nprint(1)\n",
        "import sys\ngetattr(sys, 'set' + 'trace')(None)\nprint(1)\n",
        "import gc\ngc.get_objects()\nprint(1)\n",
        "import inspect\nprint(1)\n",
        "x = 's\\x65ttrace'\nprint(1)\n",
        "import sys\nsys.ｓettrace\nprint(1)\n",
        "print(1)\ntry:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame.f_back\n",
    ]
    verdicts = place.judge_all([(source, ONE) for source in touching])
    assert [(v.outcome.value, v.coverage_trusted) for v in verdicts] == [("passed", False)] * len(
        touching
    )
    assert place.judge("print(1)\n", ONE).coverage_trusted


@pytest.mark.parametrize(
    ("tests", "complaint"),
    [
        (TestSuite(inputs=(), outputs=()), "no tests"),
        (TestSuite(inputs=("1",), outputs=()), "1 inputs but 0 outputs"),
        (TestSuite(inputs=(1,), outputs=("1",)), "every input is text"),
        (TestSuite(inputs=("1",), outputs=("1",), comparison="fuzzy"), "unknown comparison"),
        (TestSuite(inputs=("1",), outputs=("1",), cpu_limit_s=float("inf")), "a limit is inf"),
        (TestSuite(inputs=("1",), outputs=("1",), setup_code="x ="), "setup_code"),
        (call_tests("f", ([object()], 1)), "no plain data"),
    ],
)
def test_a_suite_that_cannot_be_judged_is_refused(place, tests, complaint):
    with pytest.raises(ProblemError, match=complaint):
        place.judge("print(1)\n", tests)


def test_no_return_value_equals_what_it_is_not(place):
    tests = call_tests("f", ([0], [1, 2]))
    verdicts = place.judge_all([(source, tests) for source in HOSTILE_VALUES.values()])
    shown = dict(zip(HOSTILE_VALUES, (v.outcome.value for v in verdicts), strict=True))
    assert shown == dict.fromkeys(HOSTILE_VALUES, "wrong_answer")


def test_what_a_program_returned_or_wrote_is_told_where_the_suite_asks(place):
    returning = (
        "def f(n):\n"
        "    return {1: (n, {2}), 'a': None} if n else object()\n"
        "def g(n):\n"
        "    return [10 // n]\n"
    )
    writing = "print(input() + '\\u00e9')\n"
    asked = {"keep_answers": True}
    verdicts = place.judge_all(
        [
            (returning, call_tests("f", ([1], 0), ([0], 0), **asked)),
            (returning, call_tests("g", ([1], [10]), ([0], 0), ([5], 0), **asked)),
            (writing, stdin_tests(("1", "1\u00e9"), ("2", ""), **asked)),
            (writing, stdin_tests(("1", "1\u00e9"), ("2", ""))),
        ]
    )
    assert [[t.answer for t in v.tests] for v in verdicts] == [
        [Answer({1: (1, {2}), "a": None}), None],
        [Answer([10]), None, Answer([2])],
        [Answer("1\u00e9\n"), Answer("2\u00e9\n")],
        [None, None],
    ]
    assert [v.outcome.value for v in verdicts[1:]] == ["runtime_error", *["wrong_answer"] * 2]


def test_a_program_whose_place_breaks_is_judged_again_exactly_once(place):
    async def break_it() -> tuple[Verdict, int]:
        before = place.pool.stats.verdicts
        judging = asyncio.ensure_future(
            place.pool.judge("import time\ntime.sleep(0.5)\nprint(1)\n", ONE, problem_id="one")
        )
        await asyncio.sleep(0.3)  # half of what the program takes
        for seat in place.pool._seats:
            seat.interrupt()
        return await judging, place.pool.stats.verdicts - before

    verdict, verdicts = place.runner.run(break_it())
    assert verdict.outcome is Outcome.PASSED
    assert verdicts == 1


def test_a_cancelled_judgement_frees_its_place(place):
    async def cancel() -> Verdict:
        waiting = [
            asyncio.ensure_future(
                place.pool.judge("import time\ntime.sleep(2)\n", ONE, problem_id="one")
            )
            for _ in range(4)
        ]
        await asyncio.sleep(0.3)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return await place.pool.judge("print(1)\n", ONE, problem_id="one")

    assert place.runner.run(cancel()).outcome is Outcome.PASSED
