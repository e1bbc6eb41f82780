"""How much of one set's solutions stands in another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from stepcoder_dist.cli import commands as cli
from stepcoder_dist.data.overlap.overlap import BINS, Found, distribution, measures, overlap

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real problem sets are not at {DATA}")

GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
SAME_BUT_FOR_LOOKS = "def gcd( a,b ):  # Euclid\n  while b: \n    a,b = b,a%b\n  return a\n"
LCM = (
    "def lcm(a, b):\n    x, y = a, b\n    while y:\n        x, y = y, x % y\n"
    "    return a * b // x\n"
)
SUM = "def total(items):\n    a, b = b, a % b\n    return sum(x for x in items if x > 0)\n"


def found(evaluated: dict[str, str], training: dict[str, list[str]]) -> dict[str, list[Found]]:
    return overlap(evaluated.items(), training.items(), measures(4))


def test_a_solution_that_stands_in_the_training_set_is_found_whatever_it_looks_like():
    result = found({"e/1": GCD}, {"t/1": [LCM], "t/2": [SUM, SAME_BUT_FOR_LOOKS]})
    assert result == {
        # def gcd ( a , b ) : │ a , b = b , a % b
        "telling lines": [
            Found(problem_id="e/1", units=2, found=2, nearest="t/2", nearest_found=2)
        ],
        "4-grams": [Found(problem_id="e/1", units=19, found=19, nearest="t/2", nearest_found=19)],
        # while b : │ return a
        "every line": [Found(problem_id="e/1", units=4, found=4, nearest="t/2", nearest_found=4)],
    }


def test_a_share_is_over_the_whole_training_set_and_the_nearest_problem_is_named():
    result = found({"e/1": LCM, "e/2": SUM}, {"t/1": [SUM], "t/2": [GCD], "t/3": [LCM.upper()]})
    by_line = result["telling lines"]
    assert [each.share for each in by_line] == [0.0, 1.0]
    assert [each.nearest for each in by_line] == [None, "t/1"]
    by_gram = result["4-grams"]
    # ( a , b │ a , b ) │ , b ) : │ while y
    assert (by_gram[0].nearest, by_gram[0].nearest_found) == ("t/2", 3)


def test_of_training_problems_that_share_as_much_the_first_is_named():
    result = found({"e/1": GCD}, {"t/1": [GCD], "t/2": [GCD]})
    assert {each.nearest for (each,) in result.values()} == {"t/1"}


def test_solutions_too_short_to_tell_count_in_no_distribution():
    result = found({"e/1": "x = 1\n", "e/2": GCD}, {"t/1": ["x = 1\n"]})
    assert result["telling lines"][0].share is None
    told = distribution(result["telling lines"])
    assert (told.problems, told.units, told.found, told.mean_share) == (1, 2, 0, 0.0)
    assert distribution(result["every line"]).mean_share == 0.5


def test_a_distribution_counts_problems_by_their_share():
    shares = [(4, 0), (4, 1), (4, 2), (4, 3), (8, 7), (4, 4), (0, 0), (100, 51)]
    told = distribution(
        Found(problem_id="e", units=units, found=n, nearest=None, nearest_found=0)
        for units, n in shares
    )
    assert dict(zip(BINS, told.bins, strict=True)) == {
        "none": 1,
        "≤ 25%": 1,
        "≤ 50%": 1,
        "≤ 75%": 2,
        "< 100%": 1,
        "all": 1,
    }
    assert (told.problems, told.over_half) == (7, 4)


NAMES = st.sampled_from(["a", "b", "total", "items"])
STATEMENTS = st.builds("{} = {} + {} * {}".format, NAMES, NAMES, NAMES, NAMES)
PROGRAMS = st.lists(st.lists(STATEMENTS, min_size=2, max_size=5).map("\n".join), max_size=6)


@given(PROGRAMS)
def test_a_set_is_found_in_itself_to_the_last_unit(programs: list[str]):
    ids = {f"p/{n}": source for n, source in enumerate(programs)}
    for each in found(ids, {name: [source] for name, source in ids.items()}).values():
        assert [one.share for one in each] == [1.0] * len(programs)


@given(PROGRAMS, PROGRAMS)
def test_nothing_is_found_in_programs_of_other_names(one: list[str], other: list[str]):
    ids = {f"p/{n}": source for n, source in enumerate(one)}
    elsewhere = {f"q/{n}": [source.upper()] for n, source in enumerate(other)}
    # every window of four tokens of these programs holds a name
    for each in found(ids, elsewhere).values():
        assert [(found.found, found.nearest) for found in each] == [(0, None)] * len(one)


@given(PROGRAMS, PROGRAMS, PROGRAMS)
def test_more_training_problems_never_lower_what_is_found(
    one: list[str], other: list[str], more: list[str]
):
    ids = {f"p/{n}": source for n, source in enumerate(one)}
    training = {f"q/{n}": [source] for n, source in enumerate(other)}
    larger = training | {f"r/{n}": [source] for n, source in enumerate(more)}
    fewer_found, more_found = found(ids, training), found(ids, larger)
    for name, each in fewer_found.items():
        for before, after in zip(each, more_found[name], strict=True):
            assert before.nearest_found <= after.nearest_found <= after.found
            assert before.found <= after.found <= after.units


def write(path: Path, **solutions: str) -> str:
    rows = [
        {"problem_id": f"t/{name}", "inputs": ["1"], "outputs": ["1"], "reference": source}
        for name, source in solutions.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_command_tells_how_much_was_found_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    training = write(tmp_path / "t.jsonl", a=LCM, b=SAME_BUT_FOR_LOOKS)
    evaluated = write(tmp_path / "e.jsonl", c=GCD, d=SUM)
    assert cli.run(["data", "overlap", training, evaluated, "--ngram", "4"]) == 0
    out = capsys.readouterr().out
    for cells in (
        ["telling", "lines", "2", "3", "of", "5", "66.7%", "50.0%", "0", "0", "1", "0", "0", "1"],
        ["t/c", "2", "of", "2", "t/b", "(2)", "19", "of", "19", "t/b", "(19)"],
    ):
        assert cells in [
            [part for part in line.split() if part != "│"] for line in out.splitlines()
        ]
    assert cli.run(["data", "overlap", training, evaluated, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measures"]["telling lines"]["over_half"] == 1
    assert told["problems"][0]["10-grams"] == {
        "units": 13,
        "found": 13,
        "share": 1.0,
        "nearest": "t/b",
        "nearest_found": 13,
    }


def test_every_solution_of_a_training_row_counts_and_bad_rows_only_if_their_share_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    training = tmp_path / "t.jsonl"
    row = {"id": 1, "question": "", "input_output": "", "solutions": json.dumps([LCM, GCD])}
    training.write_text(json.dumps(row) + "\nnot JSON\n")
    arguments = ["data", "overlap", str(training), write(tmp_path / "e.jsonl", c=GCD), "--json"]
    assert cli.run(arguments) == 2
    assert f"{training}:2: not valid JSON" in capsys.readouterr().err
    assert cli.run([*arguments, "--max-bad-share", "0.5"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["measures"]["every line"]["bins"] == [0, 0, 0, 0, 0, 1]
    assert len(told["bad_rows"]) == 1


def test_a_set_without_a_solution_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "e.jsonl", c="")
    assert cli.run(["data", "overlap", path, path]) == 2
    assert "no problem has a reference solution" in capsys.readouterr().err


@needs_data
def test_what_mbpp_and_human_eval_share(capsys: pytest.CaptureFixture[str]):
    paths = [str(DATA / name) for name in ("mbpp.jsonl.gz", "HumanEval.jsonl.gz")]
    assert cli.run(["data", "overlap", *paths, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["training_problems"], told["evaluated_problems"]) == (974, 164)
    grams = told["measures"]["10-grams"]
    assert (grams["found"], grams["units"], grams["over_half"]) == (153, 7697, 0)
