"""The weights of tokens that π_old did not sample: the docstrings' examples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learner.loss.correction import CORRECTIONS, correction_weights
from stepcoder_dist import methods
from stepcoder_dist.config import LearnerConfig

SAMPLES = torch.tensor([0, 1, 0, 1, 2])
OLD = torch.tensor([-1.0, -1.0, -6.0, -1.0, -1.0], requires_grad=True)
ROLLOUT = torch.tensor([-4.0, -1.1, -1.0, -1.2, -1.0])
"""Log-ratios 3 and −5 of sample 0, 0.1 and 0.2 of sample 1, 0 of sample 2."""


def weights(name: str, **keys: float) -> Tensor:
    learner = LearnerConfig(correction=name, **keys)
    found = correction_weights(OLD, ROLLOUT, SAMPLES, learner)
    assert not found.requires_grad
    assert found.dtype == torch.float32
    return found


def test_without_a_correction_every_token_weighs_1() -> None:
    assert weights("none").tolist() == [1.0] * 5


def test_a_tokens_ratio_is_capped_from_above_only() -> None:
    # e³ -> 2, e^0.1, e⁻⁵, e^0.2, e⁰
    assert weights("token").tolist() == pytest.approx(
        [2.0, 1.1051709, 0.0067379, 1.2214028, 1.0], abs=1e-6
    )


def test_a_sequences_ratio_is_one_for_all_of_its_tokens() -> None:
    # e^(3 − 5) = e⁻², e^(0.1 + 0.2) = e^0.3, e⁰
    assert weights("sequence").tolist() == pytest.approx(
        [0.1353353, 1.3498588, 0.1353353, 1.3498588, 1.0], abs=1e-6
    )
    capped = weights("sequence", correction_cap=1.25).tolist()
    assert capped[1] == capped[3] == pytest.approx(1.25)


def test_icepop_leaves_out_the_tokens_beyond_floor_and_cap() -> None:
    assert weights("icepop").tolist() == pytest.approx([0.0, 1.1051709, 0.0, 1.2214028, 1.0])


@pytest.mark.parametrize("name", CORRECTIONS)
def test_no_tokens_have_no_weights(name: str) -> None:
    nothing = torch.zeros(0)
    learner = LearnerConfig(correction=name)
    assert correction_weights(nothing, nothing, nothing.long(), learner).shape == (0,)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_every_correction_names_its_source(name: str) -> None:
    assert "arXiv" in str(CORRECTIONS[name].__doc__)


def test_the_registry_has_every_correction() -> None:
    assert CORRECTIONS.keys() == methods.CORRECTIONS.keys()
