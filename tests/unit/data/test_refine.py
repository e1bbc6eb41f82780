"""`data refine` over small sets: which rows stay, why the others go, what is written."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from interpreted import Interpreted
from rich.console import Console

from stepcoder_dist import problems
from stepcoder_dist.data.refine.likeness import Likeness
from stepcoder_dist.data.refine.majority import Majority
from stepcoder_dist.data.refine.references import ReferencePasses
from stepcoder_dist.data.refine.refine import RefineTask, refine, survey
from stepcoder_dist.data.refine.settled_file import SettledFile
from stepcoder_dist.errors import MissingEngine, ProblemError, SandboxFault, UserError

DOUBLE = "print(2 * int(input()))\n"
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def row(name: str, **fields: object) -> dict[str, object]:
    """A good row; its statement shares no run of words with another's."""
    statement = " ".join(f"{name}-{word}" for word in WORDS)
    good: dict[str, object] = {
        "problem_id": name,
        "statement": statement,
        "reference": f"# {name}\n{DOUBLE}",
        "level": "interview",
        "inputs": ["1\n", "4\n"],
        "outputs": ["2\n", "8\n"],
        "fn_name": None,
    }
    return {k: v for k, v in (good | fields).items() if v != "absent"}


class Folder:
    """A source, and what a refining of it leaves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path / "set.jsonl"
        self.out = path / "plus.jsonl"
        self.told = io.StringIO()
        self.places = Interpreted(0), Interpreted(1)
        self.fits = lambda _: None

    def write(self, rows: list[object], name: str = "set.jsonl") -> Path:
        text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
        (self.path / name).write_text(text)
        return self.path / name

    def refine(self, *, repair: bool = False, resume: bool = False, **order: object):
        one, other = self.places
        majority = Majority(one) if repair else None
        stage = ReferencePasses(one, other, majority=majority, fits=self.fits)
        console = Console(file=self.told, width=120)
        wanted = RefineTask(
            **{"source": self.source, "out": self.out, "options": {"--repair": repair}} | order
        )
        return asyncio.run(refine(wanted, survey(wanted), [stage], console, resume=resume))

    def rows(self) -> dict[str, dict[str, object]]:
        found = [json.loads(line) for line in self.out.read_text().splitlines()]
        return {r["problem_id"]: r for r in found}

    def report(self) -> dict[str, object]:
        return json.loads((self.path / "refine_report.json").read_text())

    def reasons(self) -> dict[str, tuple[str, str]]:
        return {r["id"]: (r["reason"], r["detail"]) for r in self.report()["left_out_rows"]}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


CALLED = {"inputs": [[1]], "outputs": [2], "fn_name": "f"}
BAD = {
    "no inputs": (row("x", inputs=[], outputs=[]), "no test inputs", "0 inputs, 0 outputs"),
    "inputs absent": (row("x", inputs="absent"), "no test inputs", "0 inputs, 2 outputs"),
    "tests absent": (
        row("x", inputs="absent", outputs="absent"),
        "no test inputs",
        "neither inputs nor outputs",
    ),
    "fewer outputs": (row("x", outputs=["2\n"]), "no expected outputs", "2 inputs, 1 outputs"),
    "blank outputs": (row("x", outputs=["", "\n"]), "no expected outputs", "is blank"),
    "blank outputs as text": (
        row("apps/x", inputs='["1"]', outputs='[" "]'),
        "no expected outputs",
        "is blank",
    ),
    "no solution": (row("x", reference=" \n"), "no solution", "no solution"),
    "does not parse": (row("x", reference="print 2"), "solution does not parse", "line 1: "),
    "returns outside": (
        row("x", reference="print(2)\nreturn\n"),
        "solution returns outside of a function",
        "line 2: 'return' outside function",
    ),
    "function missing": (
        row("x", **CALLED, reference="def g(n):\n    return 2 * n\n"),
        "function name wrong or missing",
        "the solution defines no f",
    ),
    "not a name": (
        row("x", **CALLED | {"fn_name": "two words"}),
        "function name wrong or missing",
        "fn_name 'two words' is no name of a function",
    ),
    "name absent": (
        row("x", **CALLED | {"fn_name": None}),
        "function name wrong or missing",
        "inputs are lists of arguments, and there is no fn_name",
    ),
    "name of a starter absent": (
        row("x", inputs=[["ab"]], outputs=[2], starter_code="class Solution:\n    def f(self, s):"),
        "function name wrong or missing",
        "inputs are lists of arguments, and there is no fn_name",
    ),
    "mistyped": (row("x", inputs=[1, 2]), "tests cannot be used", "input 1 is an int, not text"),
    "level": (row("x", level="so-so"), "tests cannot be used", "the level is 'so-so'"),
    "endless limit": (row("x", time_limit_s=10**400), "tests cannot be used", "above"),
    "endless memory": (row("x", memory_limit_mb=1e308), "tests cannot be used", "above"),
    "wrong": (row("x", outputs=["2\n", "9\n"]), "reference fails its tests", "wrong answer: "),
    "raises": (row("x", reference="1 / 0"), "reference fails its tests", "runtime error: "),
    "endless": (row("x", reference="# endless"), "reference times out", "timeout: ran for"),
    "chance": (
        row("x", reference=f"{DOUBLE}print(SEED)", outputs=["2 0", "8 0"]),
        "reference not deterministic",
        "passes in one run, in another wrong answer: ",
    ),
    "chance the other way": (
        row("x", reference=f"{DOUBLE}print(SEED)", outputs=["2 1", "8 1"]),
        "reference not deterministic",
        "passes in one run, in another wrong answer: ",
    ),
    "not JSON": ('{"problem_id": "x"', "cannot be read", "not valid JSON"),
    "no object": ([1], "cannot be read", "the row is a list, not an object"),
    "other keys": ({"problem_id": "x", "a": 1}, "cannot be read", "fit no known format"),
}


@pytest.mark.parametrize(("bad", "reason", "detail"), BAD.values(), ids=BAD)
def test_a_row_that_cannot_be_trained_on_is_left_out_with_the_reason(folder, bad, reason, detail):
    folder.write([row("a"), bad, row("b")])
    account = folder.refine()
    assert (account.rows, account.kept, account.removed) == (3, 2, {reason: 1})
    assert list(folder.rows()) == ["a", "b"]
    (told,) = folder.report()["left_out_rows"]
    assert told["reason"] == reason
    assert detail in told["detail"]
    assert told["where"] == f"{folder.source}:2"
    assert folder.report()["counts"]["left_out"][reason] == 1


def test_of_several_solutions_the_first_that_passes_is_the_reference(folder):
    right = "n = int(input())\nprint(n + n)\n"
    tried = ["print(", "print(3)", "print(3)  # again", "# endless", right, DOUBLE]
    folder.write([row("a", reference="absent", solutions=tried)])
    folder.refine()
    assert folder.rows()["a"]["canonical_solution"] == right
    assert folder.places[0].judged == ["print(3)", "# endless", right]  # copies are one


def test_a_reference_may_have_hundreds_of_branches_and_of_terms(folder):
    branches = "".join(f"elif n == {n}:\n    n = n + 0\n" for n in range(10, 400))
    long = f"n = int(input())\nif n == 9:\n    n = n + 0\n{branches}print(n + n{' + 0' * 700})\n"
    folder.write([row("a", reference="absent", solutions=[long, f"{long}# again"])])
    folder.refine()
    assert folder.rows()["a"]["canonical_solution"] == long


def test_a_row_costs_no_more_than_three_time_outs(folder):
    tried = [f"# endless\nprint({n})" for n in range(9)]
    folder.write([row("a"), row("b", reference="absent", solutions=tried)])
    folder.refine()
    assert folder.reasons()["b"][0] == "reference times out"
    assert len([s for s in folder.places[0].judged if "endless" in s]) == 3


def test_what_only_running_can_settle_is_settled_by_the_reference(folder):
    """Every expected value is a list of one: APPS wrapped them, or the function returns lists."""
    lists = {"inputs": [[1], [2]], "outputs": [[2], [4]], "fn_name": "f"}
    bare = "def f(n):\n    m = 2 * n\n    return m\n"
    wrapped = "def f(n):\n    m = [2 * n]\n    return m\n"
    folder.write(
        [row("apps/1", **lists, reference=bare), row("apps/2", **lists, reference=wrapped)]
    )
    folder.refine()
    assert folder.rows()["apps/1"]["outputs"] == [2, 4]
    assert folder.rows()["apps/2"]["outputs"] == [[2], [4]]
    changed = {r["id"]: r["changes"] for r in folder.report()["normalised_rows"]}
    assert "single values taken out of lists" in changed["apps/1"]
    assert "single values taken out of lists" not in changed["apps/2"]


NORMALISED = {
    "lists of lines joined to text": {"inputs": [["1"], ["4"]]},
    "numbers as output written as text": {"outputs": [2, 8]},
    "lists decoded from JSON text": {"inputs": '["1", "4"]', "outputs": '["2", "8"]'},
    "line ends of Windows": {"reference": DOUBLE.replace("\n", "\r\n") + "# end\r\n"},
    "JSON text decoded": {
        "inputs": [['"ab"'], ['"c"']],
        "outputs": [2, 1],
        "fn_name": "f",
        "reference": "def f(s):\n    return len(s)\n",
    },
    "single values taken out of lists": {
        "inputs": [["ab"], ["c"]],
        "outputs": [[2], [1]],
        "fn_name": "f",
        "reference": "def f(s):\n    return len(s)\n",
    },
    "call of the wrapper function added": {"reference": "def abcde():\n    " + DOUBLE},
    "function name of a program on standard input dropped": {
        "reference": "def abcde():\n    " + DOUBLE,
        "fn_name": "abcde",
    },
    "bare methods put into class Solution": {
        **CALLED,
        "reference": "def f(self, n):\n    return 2 * n\n",
    },
    "LeetCode's silent imports added": {
        **CALLED,
        "reference": "def f(n):\n    return sum(Counter([n] * 2).elements())\n",
    },
}


@pytest.mark.parametrize(("change", "fields"), NORMALISED.items(), ids=NORMALISED)
def test_a_row_in_one_of_apps_manners_is_kept_and_counted_as_normalised(folder, change, fields):
    folder.write([row("apps_plus/1", **fields)])
    account = folder.refine()
    assert account.kept == 1
    assert account.normalised[change] == 1
    assert change in folder.rows()["apps_plus/1"]["normalised"]


def test_line_ends_of_windows_in_an_input_are_a_change_too(folder):
    folder.write([row("apps_plus/1", inputs=["1\r\n", "4\r\n"])])
    assert folder.refine().normalised["line ends of Windows"] == 1
    assert folder.rows()["apps_plus/1"]["inputs"] == ["1\n", "4\n"]


def test_what_is_written_reads_back_as_the_same_problem_whatever_its_values_are(folder):
    asserts = [
        "assert f((1, 2), {3}) == ((1, 2), {3})",
        "assert f(10 ** 40, {1: (None,)}) == (10 ** 40, {1: (None,)})",
        "assert f(b'x', frozenset({2})) == (b'x', frozenset({2}))",
        "assert f(float('inf'), 1j) == (float('inf'), 1j)",
    ]
    source = {"task_id": 7, "text": "pair", "code": "def f(a, b):\n    return a, b\n"}
    folder.write([source | {"test_list": asserts}])
    folder.refine()
    written = folder.rows()["mbpp/7"]
    assert written["outputs"][0] == "((1, 2), {3})"
    before, after = problems.load(folder.source)[0], problems.load(folder.out)[0]
    assert after == before
    assert repr(after.tests) == repr(before.tests)  # 1 is no True


def test_a_written_row_has_its_conditionals_from_line_to_line_and_its_number_of_tests(folder):
    loop = "for i in range(2):\n    if i:\n        pass\n    else:\n        pass\n"
    folder.write([row("a", reference=loop + DOUBLE)])
    folder.refine()
    assert folder.rows()["a"]["conditionals"] == [[1, 5], [2, 5]]
    assert folder.rows()["a"]["tests_total"] == 2


def test_of_duplicates_the_first_that_passes_stays_whichever_is_judged_first(folder):
    statement = " ".join(f"w{n}" for n in range(60))
    nearly = statement.replace("w59", "other")
    folder.write(
        [
            row("failing", statement=statement, outputs=["0", "0"]),
            row("first", statement=statement, reference=f"# slow\n{DOUBLE}"),
            row("same", statement=statement.replace(" ", "\n")),
            row("near", statement=nearly),
            row("first", statement="another with an id that is taken"),
            row("unlike", statement=" ".join(f"v{n}" for n in range(60))),
        ]
    )
    folder.refine()
    assert list(folder.rows()) == ["first", "unlike"]
    assert folder.reasons()["same"] == ("duplicate", "the statement of first")
    assert folder.reasons()["near"][0] == "near-duplicate"
    assert folder.reasons()["near"][1].endswith("% like first")
    assert folder.reasons()["first"] == ("duplicate", "an earlier row has its id")
    folder.out.unlink()
    folder.refine(near_duplicate=0.0)
    assert list(folder.rows()) == ["first", "near", "unlike"]


def test_signs_count_where_statements_are_compared(folder):
    folder.write([row("a", statement="compute a + b"), row("b", statement="compute a - b")])
    assert folder.refine().kept == 2


def test_problems_of_an_evaluation_set_are_left_out_and_cost_no_run(folder):
    held = folder.write([row("e", statement="shared statement here"), "broken"], "held.jsonl")
    folder.write([row("a"), row("b", statement="shared  statement\nhere")])
    folder.refine(against=[str(held)])
    assert folder.reasons() == {"b": ("in an evaluation set", "the statement of e")}
    assert not any("# b\n" in source for source in folder.places[0].judged)


EVALUATED = (
    "Given a list of numbers and a threshold, return whether two of the numbers are closer to each "
    "other than the threshold. The function is named has_close_elements(numbers, threshold)."
)
SOLUTION = """\
def has_close_elements(numbers, threshold):
    ordered = sorted(numbers)
    for left, right in zip(ordered, ordered[1:]):
        if right - left < threshold:
            return True
    return False
"""
RENAMED = """\
def near(values, limit):  # the same with other names
    in_order = sorted(values)

    for a, b in zip(in_order, in_order[1:]):
        if b - a < limit:
            return True
    return False
"""
OTHER = """\
def near(values, limit):
    return any(abs(a - b) < limit for i, a in enumerate(values) for b in values[:i])
"""


def close_elements(name: str, statement: str, *solutions: str) -> dict[str, object]:
    fn_name = "near" if "def near" in solutions[-1] else "has_close_elements"
    tests = {"inputs": [[[1, 2], 3]], "outputs": [True], "fn_name": fn_name}
    return row(name, statement=statement, reference="", solutions=solutions, **tests)


@pytest.mark.parametrize(
    ("statement", "solution", "how"),
    [
        (f"Hello! {EVALUATED} Good luck, and write readable code in a single file.", OTHER,
         "the statement of e in it"),
        (EVALUATED[: EVALUATED.index(" The function")], OTHER, "a part of the statement of e"),
        (
            EVALUATED.replace("has_close_elements(numbers, threshold)", "near(values, limit)")
            .replace("threshold", "limit").replace("numbers", "values"),
            OTHER,
            "the statement of e in it",
        ),
        ("Something else is asked for here, in quite other words.", SOLUTION, "a solution of e"),
        ("Something else is asked for here, in quite other words.", RENAMED, "a solution of e"),
        (
            "Something else is asked for here, in quite other words.",
            RENAMED.replace("def near", "import math\n\n\ndef unused():\n    pass\n\n\ndef near"),
            "a solution of e",
        ),
    ],
    ids=["contains", "contained", "renamed", "solution", "renamed solution", "longer solution"],
)  # fmt: skip
def test_a_row_with_a_part_or_a_solution_of_an_evaluation_problem_is_left_out(
    folder, statement, solution, how
):
    held = folder.write([close_elements("e", EVALUATED, SOLUTION)], "held.jsonl")
    folder.write([row("a"), close_elements("b", statement, solution)])
    folder.refine(against=[str(held)])
    assert folder.reasons() == {"b": ("in an evaluation set", how)}


def test_a_row_that_shares_words_and_lines_with_an_evaluation_problem_is_kept(folder):
    held = folder.write([close_elements("e", EVALUATED, SOLUTION), row("short")], "held.jsonl")
    folder.write(
        [
            row("same short program", statement="double the number that is given"),
            row(
                "other",
                statement="Given a list of numbers and a word, return the number of numbers with "
                "as many digits as the word has letters. Names count for nothing here.",
            ),
        ]
    )
    assert folder.refine(against=[str(held)]).kept == 2


def test_every_row_of_every_evaluation_set_is_compared_also_what_could_not_be_judged(folder):
    words = [f"w{n}" for n in range(400)]
    first = folder.write([row("e")], "first.jsonl")
    second = [row("e", statement=" ".join(words)), row("e", statement="twice the id"), "broken"]
    second += [row("o", statement="in Python 2", reference="print 2", outputs=[])]
    against = [str(first), str(folder.write(second, "second.jsonl"))]
    nearly = row("a", statement=" ".join([*words[:-1], "W399"]))
    folder.write([nearly, row("b", statement="twice the id"), row("c", statement="in Python 2")])
    with pytest.raises(ProblemError, match="none of 3 rows is left"):
        folder.refine(against=against)
    assert {reason for reason, _ in folder.reasons().values()} == {"in an evaluation set"}
    assert "second.jsonl: 1 of 4 rows cannot be read and are not compared" in folder.told.getvalue()


def test_a_majority_of_distinct_solutions_corrects_an_expected_output_and_says_so(folder):
    three = [DOUBLE, "n = int(input())\nprint(n + n)\n", "print(int(input()) << 1)\n"]
    folder.write([row("a", reference="absent", solutions=three, outputs=["2\n", "9\n"])])
    folder.refine(repair=True)
    written = folder.rows()["a"]
    assert written["outputs"] == ["2\n", "8\n"]
    assert written["mended_tests"] == [{"test": 1, "was": "'9\\n'", "is": "'8\\n'", "votes": 3}]
    assert folder.report()["stages"]["reference passes"] == {"mended": 1, "mended_rows": ["a"]}
    assert problems.load(folder.out)[0].tests.outputs == ("2\n", "8\n")


NO_MAJORITY = {
    "two": [DOUBLE, "n = int(input())\nprint(n + n)\n"],
    "copies": [DOUBLE, f"# a comment\n{DOUBLE}", DOUBLE.replace("2 * ", "2  *  ")],
    "no agreement": ["print(2, 8)", "print(8, 2)", DOUBLE],
    "print nothing": ["1", "2", "3"],
    "as many others": [
        *(f"n = int(input())\nprint(n + n + {n} - {n})" for n in range(3)),
        *(f"n = int(input())\nprint(7 + n * {n} - n * {n})" for n in range(3)),
    ],
}


@pytest.mark.parametrize("solutions", NO_MAJORITY.values(), ids=NO_MAJORITY)
def test_without_three_distinct_solutions_that_agree_nothing_is_corrected(folder, solutions):
    folder.write([row("a"), row("b", reference="absent", solutions=solutions, outputs=["2", "9"])])
    folder.refine(repair=True)
    assert list(folder.rows()) == ["a"]
    assert folder.reasons()["b"][0] == "reference fails its tests"


def many(count: int) -> list[object]:
    rows: list[object] = []
    for n in range(count):
        bad = {"outputs": ["0", "0"]} if n % 5 == 0 else {}
        rows.append(row(f"p/{n}", reference=f"# {n}{' slow' * (n % 3 == 0)}\n{DOUBLE}", **bad))
    return [*rows, row("p/1"), "broken"]


def files(folder: Folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.path.iterdir()}


def test_stopped_anywhere_and_resumed_it_writes_the_same_bytes_and_judges_nothing_again(tmp_path):
    whole, parts = (Folder(tmp_path / name) for name in ("whole", "parts"))
    for one in (whole, parts):
        one.path.mkdir()
        one.source = tmp_path / "set.jsonl"
    whole.write(many(30), "../set.jsonl")
    whole.refine()

    class Stopped(Exception):
        pass

    judge = parts.places[0].judge

    async def judge_some(source, tests, *, problem_id):
        if next(calls) in {1, 15, 35}:
            raise Stopped
        return await judge(source, tests, problem_id=problem_id)

    calls = itertools.count()
    parts.places[0].judge = judge_some
    for _ in range(3):
        with pytest.raises(Stopped):
            parts.refine(resume=True)
        assert set(files(parts)) == {"plus.jsonl.partial"}
        with (parts.path / "plus.jsonl.partial").open("ab") as file:
            file.write(b'{"id": "torn')
    parts.refine(resume=True)
    assert files(parts) == files(whole)
    assert set(files(whole)) == {"plus.jsonl", "plus.manifest.json", "refine_report.json"}
    assert "continue with --resume" in parts.told.getvalue()
    again = Counter(parts.places[0].judged) - Counter(whole.places[0].judged)
    assert again.total() <= 3 * RefineTask.__dataclass_fields__["in_flight"].default


def test_resuming_refuses_another_source_and_other_options(folder):
    folder.write([row("a"), *(row(f"f{n}", reference="# fault") for n in range(8))])
    with pytest.raises(SandboxFault):
        folder.refine(options={"--repair": "no"})
    with pytest.raises(
        UserError, match="started with another --repair; start again without --resume"
    ):
        folder.refine(resume=True, options={"--repair": "majority"})
    folder.write([row("c")])
    with pytest.raises(UserError, match="started with another SRC"):
        folder.refine(resume=True, options={"--repair": "no"})
    folder.refine(options={"--repair": "no"})
    assert list(folder.rows()) == ["c"]
    assert (folder.path / "plus.jsonl.partial.older").exists()


def test_a_file_to_go_on_from_that_another_hand_changed_is_refused(folder):
    folder.write(["broken", row("a")])
    with pytest.raises(ProblemError, match="1 of 2 rows are broken"):
        folder.refine(max_bad_share=0)
    partial = folder.path / "plus.jsonl.partial"
    for strange in (b"\n", b"null\n", b"{}\n", b"\0\n"):
        partial.write_bytes(partial.read_bytes() + strange)
        with pytest.raises(
            UserError, match=r"partial:4: not what refine writes there; start again with"
        ):
            folder.refine(resume=True)


def test_a_full_disk_is_one_line_also_where_closing_fails_again(folder):
    with SettledFile(folder.out, {}, resume=False) as settled:
        settled.path = Path("/dev/full")
        with pytest.raises(UserError, match="cannot be written"):
            settled.write({"id": "a", "reason": "cannot be read"})


def test_a_fault_of_the_sandbox_is_no_verdict_and_many_end_the_command(folder):
    folder.write([row("a"), row("f", reference="# fault"), row("b")])
    folder.refine()
    assert folder.reasons()["f"] == ("the sandbox failed on it", "the engine is away")
    faults: list[object] = [row(f"f{n}", reference="# fault") for n in range(19)]
    folder.write([row("a"), *faults[:3], "broken", *faults[3:]])
    with pytest.raises(SandboxFault, match=r"8 rows in a row.*the engine is away"):
        folder.refine()
    # those rows are open again
    assert "keeps 1 of 21 rows; continue with --resume" in folder.told.getvalue()


def test_more_broken_rows_than_allowed_are_an_error_that_leaves_the_report_and_can_go_on(folder):
    folder.write(["broken", "broken", row("a")])
    with pytest.raises(ProblemError, match=r"2 of 3 rows are broken, more than --max-bad-share"):
        folder.refine(max_bad_share=0.5)
    assert {p.name for p in folder.path.iterdir()} == {
        "set.jsonl", "refine_report.json", "plus.jsonl.partial",
    }  # fmt: skip
    assert folder.report()["counts"]["left_out"]["cannot be read"] == 2
    judged = len(folder.places[0].judged)
    folder.refine(max_bad_share=1.0, resume=True)
    assert list(folder.rows()) == ["a"]
    assert len(folder.places[0].judged) == judged


def test_a_set_of_which_nothing_is_left_is_an_error_and_replaces_no_older_one(folder):
    folder.out.write_text("older\n")
    folder.write([row("a", outputs=["0", "0"])])
    with pytest.raises(ProblemError, match="none of 1 rows is left"):
        folder.refine()
    assert folder.out.read_text() == "older\n"
    assert not (folder.path / "plus.jsonl.partial").exists()


def test_the_manifest_tells_source_options_versions_counts_and_the_sets_digest(folder):
    folder.write([row("a"), row("b", outputs=["0", "0"])])
    folder.refine()
    told = json.loads((folder.path / "plus.manifest.json").read_text())
    assert told["source"]["sha256"] == hashlib.sha256(folder.source.read_bytes()).hexdigest()
    assert told["out"]["sha256"] == hashlib.sha256(folder.out.read_bytes()).hexdigest()
    assert told["out"]["bytes"] == folder.out.stat().st_size
    assert told["options"]["--repair"] is False
    assert (told["counts"]["rows"], told["counts"]["kept"]) == (2, 1)
    assert told["versions"]["datasketch"]


def test_no_more_rows_are_held_than_are_in_flight(folder):
    folder.write(many(100))
    folder.refine(in_flight=5)
    assert 2 <= folder.places[0].most_at_once <= 5


def test_a_set_may_be_written_into_the_folder_that_it_is_made_of(folder):
    problem = folder.path / "apps" / "0000"
    problem.mkdir(parents=True)
    tests = {"inputs": ["1\n"], "outputs": ["2\n"]}
    (problem / "question.txt").write_text("twice")
    (problem / "input_output.json").write_text(json.dumps(tests))
    (problem / "solutions.json").write_text(json.dumps([DOUBLE]))
    folder.source, out = problem.parent, problem.parent / "plus.jsonl"
    before = survey(RefineTask(source=folder.source, out=out, options={})).about
    folder.refine(out=out)
    assert survey(RefineTask(source=folder.source, out=out, options={})).about == before


def test_an_out_that_cannot_be_is_refused_before_anything_runs(folder):
    folder.write([row("a")])
    os.mkfifo(folder.path / "pipe")
    for out, complaint in (
        (folder.path / "pipe", "a device or pipe, which --out would replace"),
        (folder.path / ("x" * 300), "cannot be written (File name too long)"),
        (folder.source, "--out would replace"),
        (folder.path, "a folder; give --out a file"),
        (folder.source / "x.jsonl", "cannot be written (File exists)"),
    ):
        with pytest.raises(UserError, match=re.escape(complaint)):
            folder.refine(out=out)
    assert folder.places[0].judged == []


def test_no_set_that_is_read_is_replaced(folder):
    heldout = folder.write([row("held")], "heldout.jsonl")
    folder.write([row("a")])
    parts = folder.path / "parts"
    parts.mkdir()
    part = folder.write([row("b")], "parts/b.jsonl")
    for order in (
        {"out": heldout, "against": (str(heldout),)},
        {"out": part, "source": parts},
        {"out": part, "against": (f"{parts}/*.jsonl",)},
    ):
        before = order["out"].read_text()
        with pytest.raises(UserError, match="--out would replace"):
            folder.refine(**order)
        assert order["out"].read_text() == before


def test_without_datasketch_the_command_says_how_to_get_it_or_to_go_without(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    folder.write([row("a"), row("b", statement=row("a")["statement"])])
    with pytest.raises(MissingEngine, match=r"stepcoder-dist\[data\].*or pass --near-duplicate 0"):
        folder.refine()
    assert folder.refine(near_duplicate=0.0).removed == {"duplicate": 1}


def test_only_what_fits_the_models_context_is_kept(folder):
    """Also of several solutions: a shorter one that passes takes the place of a long one."""
    long = "# " + "x" * 100 + "\n" + DOUBLE
    folder.write(
        [
            row("both", reference="absent", solutions=[long + "pass\n", DOUBLE]),
            row("long", reference=long),
        ]
    )
    folder.fits = lambda p: "too long" if len(p.reference) > 80 else None
    folder.refine()
    assert folder.rows()["both"]["canonical_solution"] == DOUBLE
    assert folder.reasons() == {"long": ("too long for the model", "too long")}


@pytest.mark.parametrize("threshold", [0.3, 0.85, 1.0])
def test_a_like_statement_is_found_at_any_threshold_and_an_unlike_one_at_none(threshold):
    words = [f"w{n}" for n in range(400)]
    seen = Likeness(threshold)
    seen.add("a", " ".join(words))
    seen.add("b", " ".join(f"v{n}" for n in range(400)))
    name, share = seen.seen(" ".join([*words[:-1], "W399"]))
    assert (name, share) == ("a", 0.999)  # in other letters: not word for word
    assert seen.seen(" ".join(f"u{n}" for n in range(400))) is None
