"""Methods by name: what they stand for, what wins over what, and what `--dry-run` says of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from learner import advantage
from stepcoder_dist import methods
from stepcoder_dist.cli.commands import run
from stepcoder_dist.config import CreditConfig, CurriculumConfig, LearnerConfig, RunConfig
from stepcoder_dist.doctor import dry_run
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.method import credit_rules, reward_rules, start_rules
from stepcoder_dist.run.run_file import describe, load

TREE = {
    "name": "small",
    "model": {"path": "m"},
    "problems": {"train": "t", "heldout": "h"},
}


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text('name = "small"\n[model]\npath = "m"\n[problems]\ntrain = "t"\nheldout = "h"\n')
    return path


def chosen(path: Path, *overrides: str) -> tuple[str, str, str]:
    config = load(path, overrides)
    return config.curriculum.kind, config.credit.rule, config.learner.advantage


@pytest.mark.parametrize(
    ("method", "choices"),
    [
        ("stepcoder", ("cccs", "executed", "gae")),
        ("stepcoder-no-cccs", ("none", "executed", "gae")),
        ("stepcoder-no-fgo", ("cccs", "all", "gae")),
        ("ppo", ("none", "all", "gae")),
        ("grpo", ("none", "all", "grpo")),
        ("grpo-stepcoder", ("cccs", "executed", "grpo")),
        ("rloo", ("none", "all", "rloo")),
        ("dapo", ("none", "all", "grpo")),
        ("gspo", ("none", "all", "grpo")),
        ("dr_grpo", ("none", "all", "dr_grpo")),
        ("cispo", ("none", "all", "grpo")),
        ("reinforce_pp", ("none", "all", "reinforce_pp")),
    ],
)
def test_a_method_is_three_choices_and_the_learners_other_rules(
    run_file: Path, method: str, choices: tuple[str, str, str]
) -> None:
    assert chosen(run_file, f"method={method}") == choices
    run_file.write_text(f'method = "{method}"\n' + run_file.read_text())
    assert chosen(run_file) == choices
    config = RunConfig.model_validate({**TREE, "method": method})
    assert tuple(config.choices.values())[:3] == choices
    others = {key: value for key, value in config.choices.items() if methods.USUAL[key] != value}
    assert {key: others[key] for key in others.keys() - set(methods.CHOICES[:3])} == {
        "dapo": {
            "learner.loss": "clip_higher",
            "learner.kl_in": "none",
            "learner.selection": "dapo",
            "learner.flat_groups": "replace",
        },
        "gspo": {"learner.loss": "gspo", "learner.normaliser": "sequence"},
        "dr_grpo": {"learner.normaliser": "constant", "learner.kl_in": "none"},
        "cispo": {"learner.loss": "cispo", "learner.kl_in": "none"},
    }.get(method, {})


def test_every_method_and_every_rule_can_be_named_in_a_run_file() -> None:
    assert set(methods.PRESETS) == set(get_args(methods.Method))
    assert set(methods.PRESETS) == set(methods.ABOUT)
    for name in methods.START_RULES:
        assert start_rules.rule(name).first(0, CurriculumConfig()) == 0
    for name in methods.CREDIT_RULES.keys() - {"all"}:
        assert credit_rules.rule(name).__doc__
    for name, rule in methods.REWARDS.items():
        assert callable(reward_rules.rule(name).reward)
        assert (reward_rules.group_rule(name) is not None) == rule.groups
    for table in (start_rules, credit_rules, reward_rules):
        with pytest.raises(KeyError):
            table.rule("progress")


@pytest.mark.parametrize("key", methods.RULES)
def test_the_registry_names_what_the_keys_take(key: str) -> None:
    section, name = key.split(".")
    fields = RunConfig.model_fields[section].annotation.model_fields
    assert set(methods.RULES[key]) == set(get_args(fields[name].annotation))


def test_every_rule_and_every_method_is_listed_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for names in (methods.PRESETS, *methods.RULES.values()):
        for name in names:
            assert any(line.split()[:1] == [name] for line in lines)
    assert (
        "  gae           a critic, GAE, whitened over the step (arXiv 1506.02438); needs critic"
        in lines
    )
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("name", methods.ADVANTAGES)
def test_every_advantage_has_a_file_of_its_name_that_names_its_source(name: str) -> None:
    assert "arXiv" in str(advantage.rule(name).__doc__)


def test_an_advantage_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        advantage.rule("groups")


def test_the_defaults_of_the_sections_are_the_default_methods() -> None:
    sections = {"curriculum": CurriculumConfig(), "credit": CreditConfig()}
    sections["learner"] = LearnerConfig()
    for key, value in methods.PRESETS[methods.DEFAULT].items():
        section, name = key.split(".")
        assert getattr(sections[section], name) == value


def test_a_key_in_the_file_wins_over_the_files_method(run_file: Path) -> None:
    run_file.write_text('method = "ppo"\n' + run_file.read_text() + '[credit]\nrule = "executed"\n')
    assert chosen(run_file) == ("none", "executed", "gae")


def test_a_method_that_is_set_wins_over_the_files_keys_and_later_sets_win_over_it(
    run_file: Path,
) -> None:
    run_file.write_text(run_file.read_text() + '[learner]\nadvantage = "rloo"\nepochs = 3\n')
    assert chosen(run_file) == ("cccs", "executed", "rloo")
    assert chosen(run_file, "method=ppo") == ("none", "all", "gae")
    assert load(run_file, ["method=ppo"]).learner.epochs == 3
    assert chosen(run_file, "method=ppo", "credit.rule=failing_tests") == (
        "none",
        "failing_tests",
        "gae",
    )
    assert chosen(run_file, "credit.rule=failing_tests", "method=ppo") == ("none", "all", "gae")
    assert chosen(run_file, "method=ppo", "method=grpo") == ("none", "all", "grpo")


def test_a_method_that_there_is_not_is_refused_with_those_that_there_are(run_file: Path) -> None:
    for value in ("dpo", "3", "[1]"):
        with pytest.raises(ConfigError) as refused:
            load(run_file, [f"method={value}"])
        assert "\n" not in str(refused.value)
        assert str(refused.value).startswith(f"{run_file}: method = ")
        assert "'stepcoder', 'ppo'" in str(refused.value)


def test_a_section_that_is_a_value_is_refused_as_before(run_file: Path) -> None:
    for overrides in (["learner=3"], ["learner=3", "method=grpo"]):
        with pytest.raises(ConfigError, match="learner = 3: should be a section of keys"):
            load(run_file, overrides)


@pytest.mark.parametrize("advantage", ["grpo", "rloo", "dr_grpo"])
def test_one_sample_a_problem_has_nothing_to_be_compared_with(
    run_file: Path, advantage: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(run_file, ["sampling.samples_per_problem=1", f"method={advantage}"])
    assert str(refused.value) == (
        f"{run_file}: sampling.samples_per_problem = 1 leaves learner.advantage = "
        f'"{advantage}" nothing to compare a sample with: every advantage would be 0; '
        "sample at least 2"
    )


def test_one_sample_a_problem_is_no_group_to_be_flat_and_enough_for_reinforce_pp(
    run_file: Path,
) -> None:
    alone = ["sampling.samples_per_problem=1", "method=reinforce_pp"]
    assert load(run_file, alone).learner.advantage == "reinforce_pp"
    with pytest.raises(ConfigError) as refused:
        load(run_file, [*alone, "learner.selection=drop_flat"])
    assert str(refused.value) == (
        f"{run_file}: sampling.samples_per_problem = 1 leaves learner.selection = "
        '"drop_flat" nothing to compare a sample with: no sample would carry loss; '
        "sample at least 2"
    )


def test_a_constant_normaliser_is_the_longest_completion_unless_the_file_says(
    run_file: Path,
) -> None:
    def tokens(*overrides: str) -> int:
        return load(run_file, ["sampling.max_new_tokens=300", *overrides]).learner.normaliser_tokens

    assert tokens("method=dr_grpo") == 300
    assert tokens("method=dr_grpo", "learner.normaliser_tokens=50") == 50


def test_where_the_kl_is_follows_the_advantage_unless_a_key_says(run_file: Path) -> None:
    def place(*overrides: str) -> tuple[str, str]:
        learner = load(run_file, overrides).learner
        return learner.kl_place, learner.kl_estimator_used

    assert place() == ("reward", "k1")
    assert place("learner.advantage=grpo") == ("loss", "k3")
    assert place("method=grpo", "learner.kl_in=reward") == ("reward", "k1")
    assert place("learner.kl_in=loss", "learner.kl_estimator=k2") == ("loss", "k2")
    assert place("method=dapo")[0] == "none"
    assert place("method=dapo", "method=grpo") == ("loss", "k3")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["method=grpo", "learner.kl_estimator=k1"],
            'learner.kl_estimator = "k1" as a loss has gradient 0 on average; use "k2" or "k3"',
        ),
        (
            ["learner.correction=icepop", "learner.correction_floor=2"],
            "learner.correction_floor = 2 is not below correction_cap = 2, so no token would carry",
        ),
    ],
)
def test_keys_that_leave_nothing_to_learn_from_are_refused(
    run_file: Path, overrides: list[str], line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(run_file, overrides)
    assert str(refused.value).startswith(f"{run_file}: {line}")


def test_the_dry_run_names_the_method_and_what_was_chosen_instead(run_file: Path) -> None:
    plain = dry_run.report(load(run_file, ["method=grpo"]))
    choices = "curriculum.kind = none, credit.rule = all, learner.advantage = grpo"
    assert f"#   method grpo: {choices}\n" in plain
    mixed = dry_run.report(load(run_file, ["learner.advantage=grpo", "curriculum.kind=fixed"]))
    assert (
        "#   method stepcoder, with curriculum.kind = fixed instead of cccs, "
        "learner.advantage = grpo instead of gae\n"
    ) in mixed


@given(
    method=st.sampled_from(sorted(methods.PRESETS)),
    kind=st.none() | st.sampled_from(sorted(methods.START_RULES)),
    rule=st.none() | st.sampled_from(sorted(methods.CREDIT_RULES)),
)
def test_what_the_dry_run_prints_is_the_same_run_again(
    method: str, kind: str | None, rule: str | None
) -> None:
    tree = {**TREE, "method": method}
    tree |= {"curriculum": {"kind": kind, "fixed_stage": 1}} if kind else {}
    tree |= {"credit": {"rule": rule}} if rule else {}
    config = RunConfig.model_validate(tree)
    assert RunConfig.model_validate(tomllib.loads(describe(config))) == config
