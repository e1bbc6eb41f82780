"""Evaluations as files: written, read back, compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from evaluated_samples import sample
from typer.testing import CliRunner

from stepcoder_dist.cli.commands import app
from stepcoder_dist.config import PromptConfig, RunConfig
from stepcoder_dist.errors import ConfigError, UserError
from stepcoder_dist.evaluation import file as evaluation_file, scores_file as evaluation_json
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.pass_at_k import scores
from stepcoder_dist.host.files import output_file
from stepcoder_dist.records import Outcome

PASSED, WRONG = Outcome.PASSED, Outcome.WRONG_ANSWER


SAMPLES = [sample("a", PASSED), sample("b", WRONG, "competition"), sample("c", None)]


def test_a_file_gives_back_the_samples_that_were_written(tmp_path: Path):
    path = output_file.prepare(tmp_path / "new" / "e.jsonl", "")
    evaluation_file.write(path, SAMPLES)
    assert evaluation_file.read(path) == SAMPLES
    assert [path] == list(path.parent.iterdir())


def test_a_file_that_another_program_has_written_anew_is_the_same_evaluation(tmp_path: Path):
    """`jq -c` leaves U+2028 and the like as they are."""
    path = tmp_path / "e.jsonl"
    written = [replace(SAMPLES[0], source="print('one\u2028\x85two')\r\n"), *SAMPLES[1:]]
    path.write_text(
        "".join(
            json.dumps(evaluation_file.row_of(each), ensure_ascii=False) + "\r\n"
            for each in written
        ),
        encoding="utf-8",
    )
    assert evaluation_file.read(path) == written


def test_a_run_folder_stands_for_its_evaluation_after_rl_or_its_only_one(tmp_path: Path):
    (tmp_path / "eval").mkdir()
    with pytest.raises(ConfigError, match=r"no evaluation in it; name a file"):
        evaluation_file.read(tmp_path)
    evaluation_file.write(tmp_path / "eval" / "sft.jsonl", SAMPLES[:1])
    assert len(evaluation_file.read(tmp_path)) == 1
    evaluation_file.write(tmp_path / "eval" / "rl.jsonl", SAMPLES)
    assert len(evaluation_file.read(tmp_path)) == 3


@pytest.mark.parametrize("text", ["{}\n", "not json\n", '["a"]\n', '{"outcome": "marvellous"}\n'])
def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path, text: str):
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.jsonl:1: no evaluated sample"):
        evaluation_file.read(path)


def compare(*arguments: Path, flags: tuple[str, ...] = ()) -> str:
    done = CliRunner().invoke(
        app, ["eval", "--compare", *map(str, arguments), *flags], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.output


def test_two_evaluations_are_compared_by_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "160")
    names = [f"p{n}" for n in range(20)]
    before = [sample(name, WRONG if n < 15 else PASSED) for n, name in enumerate(names)]
    after = [replace(s, outcome=PASSED) for s in before]
    for name, samples in (("a.jsonl", before), ("b.jsonl", [*after, sample("more", WRONG)])):
        evaluation_file.write(tmp_path / name, samples)
    shown = compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    (line,) = [line for line in shown.splitlines() if "interview" in line]
    cells = [cell.strip() for cell in line.split("│")[1:-1]]
    assert cells[:6] == ["interview", "pass@1", "20", "25.0%", "100.0%", "+75.0"]
    assert cells[7:] == ["15", "0", "< 0.001"]
    assert "left out: 1 problem judged in B only (more)" in shown


def test_a_comparison_for_machines_has_every_k_that_both_have_the_samples_for(tmp_path: Path):
    def five(name: str, passed: int) -> list[EvaluatedSample]:
        return [
            replace(sample(name, PASSED if n < passed else WRONG), sample_id=f"eval/{name}/{n}")
            for n in range(5)
        ]

    evaluation_file.write(tmp_path / "a.jsonl", [*five("p", 0), *five("q", 1), *five("a", 1)])
    evaluation_file.write(tmp_path / "b.jsonl", [*five("p", 1), *five("q", 1)[:4], *five("b", 1)])
    found = json.loads(compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", flags=("--json",)))
    assert (found["only_a"], found["only_b"]) == (["a"], ["b"])
    rows = [(g["level"], g["k"], g["problems"], g["a"], g["b"]) for g in found["gains"]]
    assert rows[2:] == [
        ("all", 1, 2, pytest.approx(0.1), pytest.approx((1 / 5 + 1 / 4) / 2)),
        ("all", 5, 1, 0.0, 1.0),
    ]
    assert found["gains"][-1]["better"] == 1


def test_a_comparison_says_where_the_two_were_not_made_alike(tmp_path: Path):
    config = RunConfig.model_validate(
        {
            "name": "n",
            "model": {"path": "m"},
            "problems": {"train": "t", "heldout": "h"},
            "evaluation": {"samples_per_problem": 2, "k": [1, 2]},
        }
    )
    chat = config.model_copy(update={"prompt": PromptConfig(style="chat")})
    for name, made in (("a", config), ("b", chat)):
        again = [replace(each, sample_id=f"{each.sample_id}-2") for each in SAMPLES]
        evaluation_file.write(tmp_path / f"{name}.jsonl", [*SAMPLES, *again])
        told = evaluation_json.of_scores(made, "m", tmp_path, scores(SAMPLES, (1,)))
        evaluation_file.write_text(tmp_path / f"{name}.scores.json", json.dumps(told))
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    found = json.loads(compare(*files, flags=("--json",)))
    assert found["unlike"] == ["prompt.style = 'plain' in A, 'chat' in B"]
    assert {gain["k"] for gain in found["gains"]} == {1, 2}  # those that were asked for too
    assert "not made alike: prompt.style" in compare(*files)
    told["settings"] |= {"hash_seed": 7, "processes": 1, "backend": "auto"}
    (tmp_path / "b.scores.json").write_text(json.dumps(told))
    earlier = json.loads((tmp_path / "a.scores.json").read_text())
    del earlier["settings"]["processes"]  # an earlier version did not write it: it says nothing
    (tmp_path / "a.scores.json").write_text(json.dumps(earlier))
    assert json.loads(compare(*files, flags=("--json",)))["unlike"] == [
        "hash_seed = 0 in A, 7 in B",
        "backend = 'docker' in A, 'auto' in B",
        "prompt.style = 'plain' in A, 'chat' in B",
    ]
    (tmp_path / "a.scores.json").write_text(json.dumps(earlier | {"k": [0]}))
    with pytest.raises(UserError, match=r"a\.scores\.json: cannot be read \(a k is below 1\)"):
        compare(*files)
    (tmp_path / "a.scores.json").write_text("{}")
    with pytest.raises(UserError, match=r"a\.scores\.json: cannot be read"):
        compare(*files)


def test_settings_lie_next_to_their_samples_under_a_name_of_their_own():
    names = {"a.jsonl": "a", "m-0.5": "m-0.5", "m-0.6": "m-0.6", "m-0.5.jsonl": "m-0.5"}
    for samples, name in names.items():
        assert evaluation_json.beside(Path("runs") / samples) == Path(f"runs/{name}.scores.json")


def test_evaluations_of_different_sets_are_not_compared(tmp_path: Path):
    evaluation_file.write(tmp_path / "a.jsonl", [sample("a", PASSED)])
    evaluation_file.write(tmp_path / "b.jsonl", [sample("b", PASSED)])
    with pytest.raises(UserError, match="have no judged problem in common"):
        compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl")


def test_a_sample_that_is_there_twice_is_refused_and_makes_no_gain(tmp_path: Path):
    samples = [sample("a", PASSED), sample("b", WRONG)]
    evaluation_file.write(tmp_path / "a.jsonl", samples)
    evaluation_file.write(tmp_path / "b.jsonl", [*samples, samples[0]])
    with pytest.raises(UserError, match=r"b\.jsonl:3: the sample .* is in line 1 already; leave"):
        compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl")


def test_a_run_file_and_a_comparison_exclude_each_other():
    with pytest.raises(UserError, match="to evaluate, or --compare"):
        CliRunner().invoke(app, ["eval"], catch_exceptions=False)


@pytest.mark.parametrize(
    "extra", [("--model", "m"), ("--out", "o.jsonl"), ("--set", "seed=1")], ids=lambda e: e[0]
)
def test_a_comparison_takes_no_option_of_an_evaluation(tmp_path: Path, extra: tuple[str, str]):
    with pytest.raises(UserError, match="--compare judges nothing: leave out"):
        compare(tmp_path / "a.jsonl", tmp_path / "b.jsonl", flags=extra)
