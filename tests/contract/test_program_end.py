"""How a program ends, on containers and on plain processes: what it leaves to the exit counts."""

from __future__ import annotations

import pytest
from ending_programs import ENDINGS
from sandbox_cases import stdin_tests

from stepcoder_dist.records import Outcome


def test_what_is_left_to_the_interpreters_exit_is_written_in_every_test(place):
    verdicts = place.judge_all(
        [
            (source, stdin_tests(*[("7\n", written)] * 2, comparison="exact"))
            for source, written in ENDINGS.values()
        ]
    )
    shown = {name: (v.outcome.value, v.detail) for name, v in zip(ENDINGS, verdicts, strict=True)}
    assert shown == dict.fromkeys(ENDINGS, ("passed", ""))


@pytest.mark.parametrize("opened", ["open(1, 'w')", "open(1, 'w', closefd=False)"])
def test_a_writer_of_one_test_is_closed_before_the_next_begins(place, opened):
    source = (
        "from typing import List\n"
        "read = open(0).readline\n"
        "class Node:\n"
        f"    out = {opened}\n"
        "def main(nodes: List[Node]):\n"
        "    for line in iter(read, ''):\n"
        "        Node.out.write(line)\n"
        "main([])\n"
    )
    # more tests than `typing` remembers classes
    tests = stdin_tests(*((f"{n}\n" * 3, f"{n}\n" * 3) for n in range(200)))
    assert place.judge(source, tests).outcome is Outcome.PASSED
