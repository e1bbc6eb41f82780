"""The figures of a step: sums by name, and names that the sinks know."""

from __future__ import annotations

import pytest
import torch
from test_ppo_step import NOW, OLD, OLD_VALUES, VALUES, Table, batch, ppo, process_group

from learner.step_figures import UpdateSums
from stepcoder_dist.loop.metrics import METRICS
from stepcoder_dist.methods import ADVANTAGES

__all__ = ["process_group"]


@pytest.mark.usefixtures("process_group")
def test_parts_add_up_under_their_names_and_what_was_not_added_is_zero() -> None:
    sums = UpdateSums(torch.device("cpu"))
    sums.add("policy_loss", torch.tensor(0.5, requires_grad=True))
    sums.add("value_loss", torch.tensor(2.0))
    sums.add("policy_loss", torch.tensor(0.25))

    assert sums.over_ranks() == {
        "policy_loss": 0.75,
        "clip_fraction": 0.0,
        "approx_kl": 0.0,
        "kl_loss": 0.0,
        "value_loss": 2.0,
    }


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        UpdateSums(torch.device("cpu")).add("reward", torch.tensor(1.0))  # type: ignore[arg-type]


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("advantage", sorted(ADVANTAGES))
def test_every_figure_of_a_step_has_a_name_under_every_advantage(advantage: str) -> None:
    critic = Table(OLD_VALUES, VALUES) if ADVANTAGES[advantage].critic else None
    found = ppo(Table(OLD, NOW), critic, advantage=advantage).run(batch(), 0)
    assert {"policy_loss", "entropy", "learner_tokens_per_s"} < found.keys()
    assert found.keys() <= METRICS.keys()
