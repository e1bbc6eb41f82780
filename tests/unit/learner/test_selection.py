"""Which samples carry policy loss: the docstrings' examples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_ppo_step import trajectory

from learner.selection import SELECTIONS, selected
from learner.step_tensors import StepTensors
from stepcoder_dist import methods

# two groups of two: scores 1 −0.3 | 1 1; samples 0 and 2 were cut off
GROUPS = ["a", "a", "b", "b"]
SCORES = [1.0, -0.3, 1.0, 1.0]
CUT = [True, False, True, False]


def tensors() -> StepTensors:
    samples = [trajectory([1, 2], [-1.0, -1.0], [True, False], score) for score in SCORES]
    return StepTensors.of(
        [
            replace(sample, truncated=cut, ticket=replace(sample.ticket, group=group))
            for sample, cut, group in zip(samples, CUT, GROUPS, strict=True)
        ],
        torch.device("cpu"),
    )


@pytest.mark.parametrize(
    ("name", "carry"),
    [
        ("all", [True, True, True, True]),
        ("drop_flat", [True, True, False, False]),
        ("drop_overlong", [False, True, False, True]),
        ("dapo", [False, True, False, False]),
    ],
)
def test_what_is_left_out_keeps_no_token_and_the_others_keep_their_mask(
    name: str, carry: list[bool]
) -> None:
    found = selected(tensors(), name)
    assert found.keep.tolist() == [[each, False] for each in carry]
    assert found.blame.tolist() == [[each, False] for each in carry]
    assert found.mask.all()  # advantages, critic and KL still see every token


def test_the_registry_has_every_selection() -> None:
    assert SELECTIONS.keys() == methods.SELECTIONS.keys()
