"""The estimates of a KL: by hand, and on average."""

from __future__ import annotations

import pytest
import torch

from learner.loss.kl import ESTIMATORS, k1, k2, k3, reference_kl
from stepcoder_dist import methods

POLICY = torch.tensor([-1.0, -2.0])
REFERENCE = torch.tensor([-1.5, -1.0])
"""Log-ratios 0.5 and −1."""


def test_the_estimates_by_hand() -> None:
    assert k1(POLICY, REFERENCE).tolist() == pytest.approx([0.5, -1.0])
    assert k2(POLICY, REFERENCE).tolist() == pytest.approx([0.125, 0.5])
    # e^−0.5 + 0.5 − 1 and e − 1 − 1
    assert k3(POLICY, REFERENCE).tolist() == pytest.approx([0.1065307, 0.7182818])


def test_as_a_loss_it_is_a_sum_by_all_response_tokens() -> None:
    # 0.1065307 + 0.7182818 of a micro-batch of an update of 4 tokens
    assert reference_kl(POLICY, REFERENCE, 4, k3).item() == pytest.approx(0.2062031)


def test_k1_and_k3_are_the_kl_on_average_and_k2_has_its_gradient() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).log_softmax(0)
    policy = logits.log_softmax(0)
    chances = policy.exp().detach()
    kl = (policy.exp() * (policy - reference)).sum()
    (gradient,) = torch.autograd.grad(kl, logits, retain_graph=True)

    for estimate in (k1, k3):
        assert (chances * estimate(policy, reference)).sum().item() == pytest.approx(kl.item())
    found = {
        name: torch.autograd.grad(
            (chances * estimate(policy, reference)).sum(), logits, retain_graph=True
        )[0].tolist()
        for name, estimate in ESTIMATORS.items()
    }
    assert found["k2"] == pytest.approx(gradient.tolist())
    assert found["k1"] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)  # so config refuses it


def test_the_registry_has_every_estimate() -> None:
    assert {"auto", *ESTIMATORS} == methods.KL_ESTIMATORS.keys()
