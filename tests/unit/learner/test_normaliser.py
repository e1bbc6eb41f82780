"""What the policy's loss is divided by: the docstrings' examples."""

from __future__ import annotations

import pytest
import torch
from policy_tokens import tokens

from learner.loss.normaliser import NORMALISERS, constant, kept_tokens, sequence
from learner.loss.policy import Objective, policy_loss
from stepcoder_dist import methods
from stepcoder_dist.config import LearnerConfig

# samples 0, 1 and 2 of the step are this update's, with 3, 1 and 0 kept tokens; 3 is another's
KEPT = torch.tensor([3, 1, 0, 5])
UPDATE = torch.tensor([0, 1, 2])
LEARNER = LearnerConfig(normaliser_tokens=4)


def weights(name: str) -> list[float]:
    """Return what each kept token of samples 0, 0, 0, 1 weighs."""
    logprobs = torch.zeros(4, requires_grad=True)
    given = tokens(logprobs, [True] * 4, samples=torch.tensor([0, 0, 0, 1]))
    objective = Objective(logprobs, torch.zeros(4, dtype=torch.bool))
    loss, _ = policy_loss(given, objective, NORMALISERS[name](KEPT, UPDATE, LEARNER))
    (-loss).backward()
    assert logprobs.grad is not None
    return logprobs.grad.tolist()


def test_kept_tokens_count_the_same() -> None:
    assert kept_tokens(KEPT, UPDATE, LEARNER).total == 4
    assert weights("kept_tokens") == [0.25] * 4


def test_samples_with_a_kept_token_count_the_same() -> None:
    assert sequence(KEPT, UPDATE, LEARNER).total == 2
    assert weights("sequence") == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_a_constant_is_that_of_all_samples_whatever_is_kept() -> None:
    assert constant(KEPT, UPDATE, LEARNER).total == 12
    assert weights("constant") == pytest.approx([1 / 12] * 4)


@pytest.mark.parametrize("name", NORMALISERS)
def test_every_normaliser_names_its_source(name: str) -> None:
    assert "arXiv" in str(NORMALISERS[name].__doc__)


def test_the_registry_has_every_normaliser() -> None:
    assert NORMALISERS.keys() == methods.NORMALISERS.keys()
