"""MBPP, HumanEval and APPS as they are published."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist import problems
from stepcoder_dist.records import Problem

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}")


def close(got: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, int | float):
        return got == expected or math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-6)
    return bool(got == expected)


def failures(loaded: problems.ProblemSet) -> set[str]:
    """Ids of the problems whose reference does not pass its call tests, run in this process."""
    failed = set()
    for problem in loaded:
        names: dict[str, Any] = {"__name__": "program"}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(problem.tests.setup_code, names)
                exec(problem.reference, names)
                owner = names.get("Solution")
                for arguments, expected in zip(
                    problem.tests.inputs, problem.tests.outputs, strict=True
                ):
                    name = str(problem.tests.fn_name)
                    function = getattr(owner(), name) if owner else names[name]
                    if not close(function(*copy.deepcopy(arguments)), expected):
                        failed.add(problem.problem_id)
        except Exception:  # noqa: BLE001 - whatever a program raises is a failure
            failed.add(problem.problem_id)
    return failed


@needs_data
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_all_974_rows_of_mbpp_are_read_and_968_become_call_tests_that_their_references_pass():
    loaded = problems.load(DATA / "mbpp.jsonl.gz")
    assert len(loaded) == 974
    assert {p.problem_id for p in loaded if p.tests.test_code} == {
        "mbpp/367",  # arguments made by setup code
        "mbpp/533",  # types as arguments
        "mbpp/596",  # sys.getsizeof
        "mbpp/601",  # instances of a class of the program's
        "mbpp/912",  # int(call)
        "mbpp/927",  # arguments made by setup code
    }
    assert failures(loaded) == {"mbpp/367", "mbpp/927"}  # `Node` is undefined


@needs_data
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_all_164_rows_of_human_eval_are_read_and_153_become_call_tests_that_references_pass():
    loaded = problems.load(DATA / "HumanEval.jsonl.gz")
    assert [p.problem_id for p in loaded] == [f"humaneval/{n}" for n in range(164)]
    scripts = {p.problem_id for p in loaded if p.tests.test_code}
    no_values = (32, 33, 38, 44, 50, 53, 151)
    truth = (52, 56, 61, 72)  # `assert f(x)`, `assert not f(x)`, `f(x) is True` (decision 0041)
    assert scripts == {f"humaneval/{n}" for n in (*no_values, *truth)}
    assert failures(loaded) == set()
    (decode,) = (p for p in loaded if p.problem_id == "humaneval/38")
    assert "def encode_cyclic" in decode.tests.test_code
    assert "def check(candidate)" in decode.tests.test_code
    assert decode.tests.entry_point == "decode_cyclic"


@needs_data
def test_the_genuine_apps_problems_are_read_as_their_solutions_mean_them():
    loaded = problems.load(DATA / "apps")
    assert {p.problem_id: (p.level, kind(p)) for p in loaded} == {
        "apps/0001": ("interview", "stdin"),
        "apps/0111": ("interview", "stdin"),
        "apps/2287": ("competition", "stdin"),
        "apps/2404": ("introductory", "findKthPositive"),
        "apps/4184": ("introductory", "is_prime"),
    }
    prime = loaded[4].tests
    assert prime.outputs == (False, True, True, False, False, True, True, False)
    calls = [p for p in loaded if p.tests.fn_name]
    assert failures(problems.ProblemSet(problems=tuple(calls), account=loaded.account)) == set()
    assert loaded.account.unsettled == []


def kind(problem: Problem) -> str:
    return problem.tests.fn_name or "stdin"
