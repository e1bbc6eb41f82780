"""Methods by name: what they stand for, what wins over what, and what `--dry-run` says of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from learner import advantage
from stepcoder_dist import methods
from stepcoder_dist.config import CreditConfig, CurriculumConfig, LearnerConfig, RunConfig
from stepcoder_dist.doctor import dry_run
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.method import credit, start_rules
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
    ],
)
def test_a_method_is_three_choices(
    run_file: Path, method: str, choices: tuple[str, str, str]
) -> None:
    assert chosen(run_file, f"method={method}") == choices
    run_file.write_text(f'method = "{method}"\n' + run_file.read_text())
    assert chosen(run_file) == choices
    config = RunConfig.model_validate({**TREE, "method": method})
    assert tuple(config.choices.values()) == choices


def test_every_method_and_every_rule_can_be_named_in_a_run_file() -> None:
    assert set(methods.PRESETS) == set(get_args(methods.Method))
    kinds = get_args(CurriculumConfig.model_fields["kind"].annotation)
    assert set(start_rules.RULES) == set(kinds)
    assert {"all", *credit.RULES} == set(get_args(CreditConfig.model_fields["rule"].annotation))
    advantages = get_args(LearnerConfig.model_fields["advantage"].annotation)
    assert set(methods.ADVANTAGES) == set(advantages)


@pytest.mark.parametrize("name", methods.ADVANTAGES)
def test_every_advantage_has_a_file_of_its_name_that_names_its_source(name: str) -> None:
    assert "arXiv" in str(advantage.rule(name).__doc__)


def test_an_advantage_that_there_is_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        advantage.rule("groups")


def test_the_defaults_of_the_sections_are_the_default_methods() -> None:
    values = (CurriculumConfig().kind, CreditConfig().rule, LearnerConfig().advantage)
    assert dict(zip(methods.CHOICES, values, strict=True)) == methods.PRESETS[methods.DEFAULT]


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


@pytest.mark.parametrize("advantage", ["grpo", "rloo"])
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
    kind=st.none() | st.sampled_from(sorted(start_rules.RULES)),
    rule=st.none() | st.sampled_from(["all", *sorted(credit.RULES)]),
)
def test_what_the_dry_run_prints_is_the_same_run_again(
    method: str, kind: str | None, rule: str | None
) -> None:
    tree = {**TREE, "method": method}
    tree |= {"curriculum": {"kind": kind, "fixed_stage": 1}} if kind else {}
    tree |= {"credit": {"rule": rule}} if rule else {}
    config = RunConfig.model_validate(tree)
    assert RunConfig.model_validate(tomllib.loads(describe(config))) == config
