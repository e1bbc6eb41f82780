"""`stepcoder data refine` in a process of its own, on containers: raw APPS in, APPS+ out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import REPOSITORY, finish, read_until

from sandbox.backend import choose, open_pool
from stepcoder_dist import problems
from stepcoder_dist.config import SandboxConfig
from stepcoder_dist.data.refine.stages import Reason
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import TestSuite

DATA = REPOSITORY.parent / "shared" / "data"
TOKENIZER = REPOSITORY / "deploy" / "models" / "ladder-sft"


@pytest.fixture
def engine():
    try:
        choose(SandboxConfig())
    except MissingEngine as error:
        pytest.skip(str(error))


def refine(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "stepcoder_dist", "data", "refine", source, "--out", out, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    )


def report(out: Path) -> dict[str, object]:
    return json.loads((out.parent / "refine_report.json").read_text())


def hash_under(seed: int) -> str:
    """What a program prints that shows its hash seed."""
    return subprocess.run(
        [sys.executable, "-c", "print(hash('step'))"],
        env={"PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


LONG = "".join(f"x{n} = {n}\n" for n in range(800))
SUM = "n = int(input())\nprint(sum(range(n + 1)))\n"
SUMS = {"inputs": ["3\n", "4\n"], "outputs": ["6\n", "10\n"]}
CALL = {"fn_name": "kth", "inputs": [[[2, 3], 1], [[2, 3], 2]], "outputs": [[2], [3]]}
KTH = "class Solution:\n    def kth(self, xs: List[int], k):\n        return xs[k - 1]\n"
FOUR_WAYS = [
    SUM,
    "n = int(input())\nprint(n * (n + 1) // 2)\n",
    "s = 0\nfor i in range(int(input())):\n    s += i + 1\nprint(s)\n",
    "print(6)\n",
]
STATEMENTS = {  # others get one of their own
    "twin": "good", "held": "held",
}  # fmt: skip

SLICE: dict[str, tuple[object, object, Reason | None]] = {
    "good": (SUMS, ["print(", "print(6)", SUM], None),
    "call": (CALL, [KTH], None),
    "mended": (SUMS | {"outputs": ["6\n", "11\n"]}, FOUR_WAYS, None),
    "no-inputs": ({"inputs": [], "outputs": []}, [SUM], Reason.NO_INPUTS),
    "no-tests": ("", [SUM], Reason.NO_INPUTS),
    "no-outputs": (SUMS | {"outputs": []}, [SUM], Reason.NO_OUTPUTS),
    "no-solution": (SUMS, "", Reason.NO_SOLUTION),
    "python-2": (SUMS, ["n = input()\nprint n\n"], Reason.DOES_NOT_PARSE),
    "returns": (SUMS, ["n = int(input())\nreturn n\n"], Reason.RETURN_OUTSIDE),
    "other-name": (CALL, [KTH.replace("kth", "nth")], Reason.FUNCTION_NAME),
    "numbers": (SUMS | {"inputs": [3, 4]}, [SUM], Reason.BAD_TESTS),
    "broken": ('{"inputs": [', [SUM], Reason.UNREADABLE),
    "long": (SUMS, [LONG + SUM], Reason.TOO_LONG),
    "held": (SUMS, [SUM], Reason.IN_EVALUATION_SET),
    "wrong": (SUMS | {"outputs": ["6\n", "11\n"]}, [SUM], Reason.FAILS),
    "endless": ({"inputs": ["3"], "outputs": ["6"]}, ["while True:\n    pass\n"], Reason.TIMES_OUT),
    "hash": (
        {"inputs": [""], "outputs": [hash_under(0)]},
        ["print(hash('step'))\n"],
        Reason.NOT_DETERMINISTIC,
    ),
    "twin": (SUMS, [SUM], Reason.DUPLICATE),
    "near": (SUMS, [SUM], Reason.NEAR_DUPLICATE),
}


def statement(name: str) -> str:
    words = " ".join(f"{STATEMENTS.get(name, name)}-{n}" for n in range(60))
    return words if name != "near" else statement("good").replace("good-59", "another")


def write_apps(folder: Path) -> None:
    """A folder in APPS's own layout."""
    for number, (name, (tests, solutions, _)) in enumerate(SLICE.items()):
        one = folder / f"{number:02d}-{name}"
        one.mkdir(parents=True)
        (one / "question.txt").write_text(statement(name))
        (one / "metadata.json").write_text('{"difficulty": "interview"}')
        for file, value in (("input_output", tests), ("solutions", solutions)):
            if value != "":
                text = value if isinstance(value, str) else json.dumps(value)
                (one / f"{file}.json").write_text(text)


@pytest.mark.filterwarnings("ignore:the sandbox runs as plain processes")
def test_a_sandbox_has_the_hash_seed_that_it_is_asked_for():
    async def passed(seed: int) -> list[bool]:
        async with open_pool(backend="process", containers=1, hash_seed=seed) as pool:
            tests = TestSuite(inputs=("", ""), outputs=(hash_under(0), hash_under(1)))
            verdict = await pool.judge("print(hash('step'))\n", tests, problem_id="hash")
        return [test.outcome == "passed" for test in verdict.tests]

    assert asyncio.run(passed(0)) == [True, False]
    assert asyncio.run(passed(1)) == [False, True]


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_raw_apps_becomes_apps_plus_with_every_reason_stopped_by_ctrl_c_and_resumed(tmp_path):
    source, held, out = tmp_path / "apps", tmp_path / "held.jsonl", tmp_path / "plus" / "a.jsonl"
    write_apps(source)
    out.parent.mkdir()
    row = {"problem_id": "h/1", "statement": statement("held"), "fn_name": None, **SUMS}
    held.write_text(json.dumps(row) + "\n")
    options = ["--repair", "majority", "--against", held, "--max-tokens", "2000"]
    options += ["--tokenizer", TOKENIZER]
    running = refine(source, out, *options)
    read_until(running, lambda line: line.startswith("refining: 3/19"))
    running.send_signal(signal.SIGINT)
    output = finish(running, 130)
    assert "rows; continue with --resume" in output
    assert [path.name for path in out.parent.iterdir()] == ["a.jsonl.partial"]

    output = finish(refine(source, out, *options, "--resume"))
    assert "a.jsonl: 3 of 19 rows" in output
    told = {r["id"].partition("-")[2]: r["reason"] for r in report(out)["left_out_rows"]}
    assert told == {name: reason for name, (_, _, reason) in SLICE.items() if reason}
    assert set(Reason) - set(told.values()) == {Reason.NOT_JUDGED}
    for reason in told.values():
        assert f"left out: {reason}" in output
    refined = {p.problem_id.partition("-")[2]: p for p in problems.load(out)}
    assert list(refined) == ["good", "call", "mended"]
    assert refined["good"].reference == SUM
    assert refined["call"].tests.outputs == (2, 3)
    assert refined["mended"].tests.outputs == ("6\n", "10\n")
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "a.jsonl", "a.manifest.json", "refine_report.json",
    ]  # fmt: skip


@pytest.mark.docker
@pytest.mark.published
@pytest.mark.usefixtures("engine")
@pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}")
@pytest.mark.parametrize(
    ("name", "rows", "why"),
    [
        ("apps", 5, {}),
        ("HumanEval.jsonl.gz", 164, {}),
        ("mbpp.jsonl.gz", 974, {"mbpp/367": "'Node' is not defined", "mbpp/927": "'Node'"}),
    ],
)
def test_published_sets_are_refined_whole(tmp_path, name, rows, why):
    """Of MBPP 972 references pass; the two others use a class that nobody defines."""
    out = tmp_path / "plus.jsonl"
    finish(refine(DATA / name, out, "--near-duplicate", "0"))
    told = report(out)
    assert told["counts"]["rows"] == rows
    assert told["counts"]["kept"] == rows - len(why)
    left_out = {r["id"]: r for r in told["left_out_rows"]}
    assert left_out.keys() == why.keys()
    for problem, detail in why.items():
        assert left_out[problem]["reason"] == "reference fails its tests"
        assert detail in left_out[problem]["detail"]
    before = {p.problem_id: p for p in problems.load(DATA / name)}
    after = {p.problem_id: p for p in problems.load(out)}
    assert after == {name: p for name, p in before.items() if name not in why}


@pytest.mark.docker
@pytest.mark.usefixtures("engine")
def test_augmented_tests_find_out_a_wrong_solution_that_the_rows_own_tests_accept(tmp_path):
    right = (
        "n, most = map(int, input().split())\n"
        "numbers = list(map(int, input().split()))\n"
        "print(sum(x for x in numbers if x <= most))\n"
    )
    strict = right.replace("<=", "<")
    renamed = [right.replace("numbers", "values"), right.replace("most", "limit")]
    row = {
        "problem_id": "sums/1",
        "statement": statement("sums"),
        "solutions": [right, strict, *renamed],
        "inputs": ["3 6\n1 2 9\n", "5 4\n8 3 1 2 5\n"],
        "outputs": ["3\n", "6\n"],
        "fn_name": None,
    }
    source, out = tmp_path / "rows.jsonl", tmp_path / "plus.jsonl"
    source.write_text(json.dumps(row) + "\n")
    finish(refine(source, out, "--augment", "8", "--near-duplicate", "0"))
    figures = report(out)["stages"]["more tests"]
    assert figures["of these, refuted by a new test"] == 1
    assert figures["% of them noticed after"] > figures["% of them noticed before"]
    (problem,) = problems.load(out)
    assert 2 < len(problem.tests) <= 8
    assert problem.tests.inputs[:2] == tuple(row["inputs"])
    for text in problem.tests.inputs:
        head, numbers = text.splitlines()
        assert int(head.split()[0]) == len(numbers.split())

    async def judge() -> list[str]:
        async with open_pool(containers=1) as pool:
            verdicts = [
                await pool.judge(source, problem.tests, problem_id=problem.problem_id)
                for source in (right, strict)
            ]
        return [verdict.outcome.value for verdict in verdicts]

    assert asyncio.run(judge()) == ["passed", "wrong_answer"]
