"""Results of cells: kept complete, checked against their inputs, compared bit for bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from ablation_cases import (
    ABLATION,
    CURVE,
    PROBLEMS,
    RUN,
    evaluation,
    load,
    made,
    some_results,
    write,
)

from stepcoder_dist.ablation import curve, plan as plans, result
from stepcoder_dist.errors import ConfigError, RunError
from stepcoder_dist.host.files import output_file
from stepcoder_dist.launch import ablate
from stepcoder_dist.launch.ablate import Inputs

ROOT = Path(__file__).parents[3]


def test_a_result_reads_back_as_it_was_written(tmp_path: Path):
    one = made("a", 1, evaluation(5, (0.1, 1 / 3, 1, 0)), evaluation(10, (1, 1, 0, 0.7)))
    path = tmp_path / "results" / "a.json"
    output_file.prepare(path, result.FIX_OUT)
    result.write(path, one)
    back = result.read(path)
    assert back == one
    assert result.not_the_same(back.measured, one.measured) == []
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(tmp_path: Path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ConfigError, match=r"a\.json: cannot be written \(.*\); choose another out"):
        output_file.prepare(tmp_path / "results" / "few" / "a.json", result.FIX_OUT)


def test_a_list_is_one_line_of_the_file_so_that_a_diff_can_be_read(tmp_path: Path):
    path = tmp_path / "a.json"
    result.write(path, made("a", 1, evaluation(5, (1, 0, 0, 0))))
    assert '  "problems": ["p/1", "p/2", "p/3", "p/4"],' in path.read_text().splitlines()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"measured": 3}', '{"measured": {}}'])
def test_a_file_that_is_no_result_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.json: no result of `stepcoder ablate`") as caught:
        result.read(path)
    assert "\n" not in str(caught.value)


def test_a_result_that_lacks_a_problems_verdict_is_refused(tmp_path: Path):
    path = tmp_path / "a.json"
    result.write(path, made("a", 1, evaluation(5, (1, 0, 0))))
    with pytest.raises(ConfigError, match="does not have one share a problem"):
        result.read(path)


@pytest.mark.parametrize(
    ("there", "instead", "message"),
    [
        ('"passed": [1', '"passed": ["1"', "a share of programs that passed is none"),
        ('"passed": [1', '"passed": [NaN', "a share of programs that passed is none"),
        ('"passed": [1', '"passed": [2', "a share of programs that passed is none"),
        ('"passed_weak": []', '"passed_weak": [1]', "does not have one share a problem"),
        ('"step": 5', '"step": null', "a step or a count is none"),
        ('"wall_s": ', '"wall_s": null, "was": ', "wall_s is no number of seconds"),
        ('"measured": {', '"measured": ' + "[" * 20_000 + "{", "nested too deeply"),
    ],
)
def test_a_result_whose_figures_are_none_is_refused(
    tmp_path: Path, there: str, instead: str, message: str
):
    path = tmp_path / "a.json"
    result.write(path, made("a", 1, evaluation(5, (1, 0, 0, 0))))
    text = path.read_text()
    assert there in text
    path.write_text(text.replace(there, instead, 1))
    with pytest.raises(ConfigError, match=message):
        result.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"made_on": {"commit": "0123456789abcdef"}}, "KeyError: 'cores, dirty, processor, python"),
        ({"measured": dataclasses.replace(made("a", 1).measured, evaluations=())}, "IndexError"),
    ],
)
def test_a_result_of_which_a_part_is_gone_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
):
    path = tmp_path / "a.json"
    whole = made("a", 1, evaluation(5, (1, 0, 0, 0)))
    result.write(path, dataclasses.replace(whole, **changes))
    with pytest.raises(ConfigError, match=message):
        result.read(path)


def test_two_measurements_differ_by_name_down_to_the_last_bit():
    one = made("a", 0, evaluation(5, (1, 0, 0, 0)))
    nearly = {**CURVE, "entropy": (0.5, 0.25000000000000006)}
    other = made("a", 0, evaluation(5, (1, 1, 0, 0)), curve=nearly)
    assert result.not_the_same(one.measured, other.measured) == [
        "curve.entropy",
        "evaluations.step 5.outcomes.passed",
        "evaluations.step 5.outcomes.wrong_answer",
        "evaluations.step 5.passed",
    ]


def test_a_figure_that_a_later_version_records_is_no_difference_but_one_that_is_gone_is():
    evaluations = evaluation(5, (1, 0, 0, 0))
    kept = made("a", 0, evaluations)
    now = made("a", 0, evaluations, curve={**CURVE, "policy_loss": (None, 0.25)})
    assert result.not_the_same(kept.measured, now.measured) == []
    assert result.not_the_same(now.measured, kept.measured) == ["curve.policy_loss"]


def test_where_it_was_made_takes_no_part_in_the_comparison():
    one = made("a", 0, evaluation(5, (1, 0, 0, 0)))
    elsewhere = dataclasses.replace(one, made_on={**one.made_on, "wall_s": 1.0, "cores": 64})
    assert result.not_the_same(one.measured, elsewhere.measured) == []


def test_the_same_cell_has_the_same_identity_and_a_changed_key_is_named(tmp_path: Path):
    known = Inputs()
    cell = load(tmp_path).select("plain", "b", 0)[0]
    faster = load(tmp_path, run=load_text("sandbox.number", 7)).select("plain", "b", 0)[0]
    other = load(tmp_path, run=load_text("learner.policy_lr", 0.5)).select("plain", "b", 0)[0]
    identity = known.identity(cell)
    assert result.differences(identity, known.identity(faster)) == []
    assert result.differences(identity, known.identity(other)) == [
        "learner.policy_lr = 5e-07 there, 0.5 here"
    ]


def load_text(key: str, value: object) -> str:
    section, name = key.split(".")
    heading = f"[{section}]\n"
    line = f"{name} = {value}\n"
    return RUN.replace(heading, heading + line) if heading in RUN else RUN + heading + line


def test_other_tests_of_the_same_problems_are_another_identity(tmp_path: Path):
    known = Inputs()
    runs = RUN, RUN.replace("heldout?count=4", "heldout?count=4&tests=40")
    cells = [load(tmp_path, run=run).select("plain", "sft")[0] for run in runs]
    changed = result.differences(*(known.identity(cell) for cell in cells))
    assert [phrase.partition(" ")[0] for phrase in changed] == [
        "problems.heldout",
        "problems_sha256",
    ]


def test_the_untrained_model_does_not_depend_on_how_others_are_trained(tmp_path: Path):
    known = Inputs()
    plain = load(tmp_path).select("plain", "sft")[0]
    other = load(tmp_path, run=load_text("learner.policy_lr", 0.5)).select("plain", "sft")[0]
    assert result.differences(known.identity(plain), known.identity(other)) == []


def test_the_untrained_models_programs_are_drawn_with_the_run_files_seed(tmp_path: Path):
    known = Inputs()
    plain = load(tmp_path).select("plain", "sft")[0]
    other = load(tmp_path, run=f"seed = 7{RUN}").select("plain", "sft")[0]
    changed = result.differences(known.identity(plain), known.identity(other))
    assert changed == ["seed = 0 there, 7 here"]


def test_a_key_that_came_later_counts_as_having_had_its_default(tmp_path: Path):
    now = Inputs().identity(load(tmp_path).select("plain", "b", 0)[0])
    then = json.loads(json.dumps(now))
    del then["config"]["learner.kl_beta"]
    assert result.differences(then, now) == []
    now["config"]["learner.kl_beta"] = 0.5
    assert result.differences(then, now) == ["learner.kl_beta = 0.05 there, 0.5 here"]


def test_what_is_measured_is_not_measured_again_and_another_config_is_refused(tmp_path: Path):
    known = Inputs()
    plan = load(tmp_path)
    cell = plan.select("plain", "b", 0)[0]
    assert known.valid_result(cell) is None
    one = made("b", 0, evaluation(5, (1, 0, 0, 0)), identity=known.identity(cell))
    write(plan, [one])
    assert known.valid_result(cell) == one
    changed = load(tmp_path, run=load_text("learner.policy_lr", 0.5)).select("plain", "b", 0)[0]
    with pytest.raises(ConfigError, match=r"learner\.policy_lr = 5e-07 there.*--redo"):
        known.valid_result(changed)


def test_weak_tests_have_to_be_of_the_held_out_problems(tmp_path: Path):
    weak = 'about = "Nothing special."\nweak_tests = "ladder:heldout?count=4&seed=5"'
    plan = load(tmp_path, ABLATION.replace('about = "Nothing special."', weak))
    with pytest.raises(ConfigError, match="weak_tests has no problem ladder/k1-"):
        Inputs().problems(plan.cells[0])


def test_a_cell_whose_model_is_not_there_is_refused_before_anything_starts(tmp_path: Path):
    plan = load(tmp_path, run=load_text("model.sft_path", f'"{tmp_path}/none"'))
    with pytest.raises(ConfigError, match="none: no model there"):
        ablate.ablate(plan, plan.cells, redo=False, check=False)


def steps(folder: Path, *, lost: int = 0) -> None:
    rows = [
        {
            "step": n,
            "reward": 0.5 * n,
            "samples/trained": 2 * n,
            "samples/infrastructure_error": lost,
            **({"policy_loss": 0.25} if n > 1 else {}),  # step 1 trained the critic only
        }
        for n in (1, 2)
    ]
    samples = [
        {"step": 1, "stage": 1, "outcome": "passed"},
        {"step": 1, "stage": 2, "outcome": "passed"},
        {"step": 2, "stage": 0, "outcome": "passed"},
        {"step": 2, "stage": 1, "outcome": "timeout"},
    ]
    for name, each in (("metrics", rows), ("samples", samples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))


def test_a_curve_has_a_value_a_step_and_tells_whole_programs_apart(tmp_path: Path):
    steps(tmp_path)
    assert curve.read(tmp_path) == {
        "step": (1, 2),
        "samples": (2, 4),
        "reward": (0.5, 1.0),
        "policy_loss": (None, 0.25),
        "whole_share": (0.0, 0.5),
        "whole_pass_rate": (None, 1.0),
    }


def test_a_run_that_lost_a_sample_is_no_result(tmp_path: Path):
    steps(tmp_path, lost=3)
    with pytest.raises(RunError, match=r"failed on 3 samples.* would not come out the same again"):
        curve.read(tmp_path)


def test_results_of_the_same_problems_are_written_for_every_cell(tmp_path: Path):
    plan = load(tmp_path)
    write(plan, some_results(plan))
    assert result.read(tmp_path / "out/plain/sft.json").measured.problems == PROBLEMS


def test_every_committed_result_is_of_the_config_that_its_cell_has_today(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(ROOT)
    cells = [c for c in plans.load(ROOT / "deploy/runs/ablation.toml").cells if c.path.exists()]
    assert len(cells) == 55
    for cell in cells:
        identity = result.identity(cell, {})  # without the problems, which take seconds to make
        changed = result.differences(result.read(cell.path).identity, identity)
        assert [phrase.partition(" ")[0] for phrase in changed] == ["problems_sha256"], cell


def test_a_result_that_has_a_key_which_counts_no_longer_stays_valid(tmp_path: Path):
    now = Inputs().identity(load(tmp_path).select("plain", "b", 0)[0])
    assert (
        not {"method", "colocate", "model.shape", "problems.max_bad_share"} & now["config"].keys()
    )
    then = json.loads(json.dumps(now))
    then["config"] |= {"colocate": True, "model.shape.layers": 2, "problems.max_bad_share": 0.1}
    assert result.differences(then, now) == []
