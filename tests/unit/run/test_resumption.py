"""Which keys may change when a run is resumed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.run import resumption


def config(**sections: Any) -> RunConfig:
    base: dict[str, Any] = {
        "name": "resumed",
        "model": {"path": "m"},
        "problems": {"train": "t", "heldout": "h"},
    }
    for name, keys in sections.items():
        base[name] = base.get(name, {}) | keys if isinstance(keys, dict) else keys
    return RunConfig.model_validate(base)


def saved(made: RunConfig) -> dict[str, Any]:
    """As run.json has it."""
    return json.loads(made.model_dump_json())


@pytest.mark.parametrize(
    "changed",
    [
        {"train": {"steps": 900, "checkpoint_every": 5}},
        {"actors": {"number": 3}},
        {"sandbox": {"number": 4, "containers": 7}},
        {"learner": {"microbatch_samples": 2, "threads": 4, "ranks": 3, "zero_stage": 3}},
        {"evaluation": {"temperature": 0.0}},
        {"weights": {"deadline_s": 5.0}},
    ],
)
def test_what_says_how_far_how_often_and_where_may_change(changed: dict[str, Any]):
    resumption.check(saved(config()), config(**changed), "step_000003")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learner": {"policy_lr": 1e-3}}, "learner.policy_lr = 5e-07 there, 0.001 here"),
        ({"train": {"max_staleness": 1}}, "train.max_staleness = 0 there, 1 here"),
        ({"sandbox": {"cpu_limit_s": 1.0}}, "sandbox.cpu_limit_s = 4.0 there, 1.0 here"),
        ({"reward": {"kind": "binary"}}, "reward.kind = 'tiered' there, 'binary' here"),
        ({"learner": {"advantage": "rloo"}}, "learner.advantage = 'gae' there, 'rloo' here"),
        ({"problems": {"train": "u"}}, "problems.train = 't' there, 'u' here"),
    ],
)
def test_what_gives_a_row_another_meaning_is_refused_by_name(changed: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match="step_000003 comes from another config") as refused:
        resumption.check(saved(config()), config(**changed), "step_000003")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_another_name_for_the_same_choices_is_the_same_run():
    choices = {"curriculum": {"kind": "none"}, "credit": {"rule": "all"}}
    renamed = config(**choices).model_copy(update={"method": "ppo"})
    resumption.check(saved(config(**choices)), renamed, "step_000003")


SHAPE = {
    "hidden_size": 8,
    "layers": 1,
    "heads": 1,
    "kv_heads": 1,
    "intermediate_size": 8,
    "vocabulary": 9,
}


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({}, {"gpu_memory_gib": 80.0}),
        ({"gpu_memory_gib": 24.0}, {"gpu_memory_gib": 80.0}),
        ({}, {"model": {"shape": SHAPE}}),
        ({"model": {"shape": SHAPE}}, {"model": {"shape": SHAPE | {"layers": 2}}}),
        ({"model": {"shape": SHAPE}}, {}),
        ({}, {"name": "another"}),
        ({}, {"colocate": True}),
        ({}, {"train": {"detailed_samples": 0}}),
    ],
)
def test_what_feeds_an_estimate_or_chooses_name_and_machine_does_not_block(
    there: dict[str, Any], here: dict[str, Any]
):
    resumption.check(saved(config(**there)), config(**here), "step_000003")


def test_a_key_that_this_version_does_not_know_blocks():
    other = saved(config()) | {"another": {"key": 1}}
    with pytest.raises(ConfigError, match=r"another\.key = 1 there, None here"):
        resumption.check(other, config(), "step_000003")


def test_what_changed_under_the_same_name_is_named() -> None:
    there = {"the training problems": "aa", "the starting checkpoint": "bb"}
    resumption.check_sources(there, dict(there), "step_000002")
    with pytest.raises(ConfigError, match=r"step_000002 .* the training problems changed since"):
        resumption.check_sources(there, there | {"the training problems": "cc"}, "step_000002")


def test_a_digest_that_one_side_does_not_have_says_nothing() -> None:
    there = {"the starting checkpoint": ""}  # from a hub
    resumption.check_sources(there, {"the starting checkpoint": "bb"}, "step_000002")
    resumption.check_sources({}, {"the starting checkpoint": "bb"}, "step_000002")
    resumption.check_sources({"the starting checkpoint": "bb"}, there, "step_000002")
