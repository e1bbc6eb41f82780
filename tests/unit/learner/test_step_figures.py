"""Named sums of an update."""

from __future__ import annotations

import pytest
import torch
from test_ppo_step import process_group

from learner.step_figures import UpdateSums

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
