"""The weights that a credit rule gives a step's tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from test_ppo_step import trajectory

from learner.step_tensors import StepTensors, Targets

CPU = torch.device("cpu")


def test_a_step_without_weights_has_no_tensor_of_them() -> None:
    tensors = StepTensors.of([trajectory([1, 2], [-1.0, -1.0], [True, True], 1.0)], CPU)
    assert (tensors.weights, tensors.blame_weights) == (None, None)
    assert Targets.of(tensors, torch.ones(1, 2)).weights is None


def test_a_token_gets_the_weight_of_its_advantages_sign_and_1_where_none_is_given() -> None:
    plain = trajectory([1, 2], [-1.0, -1.0], [True, True], 1.0)
    blamed = np.array([0.5, 2.0], dtype=np.float32)
    batch = [plain, replace(plain, blame_weights=blamed)]
    tensors = StepTensors.of(batch, CPU)
    targets = Targets.of(tensors, torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
    assert targets.weights is not None
    assert targets.weights.tolist() == [[1.0, 1.0], [1.0, 2.0]]
