"""Whether a model's logits are what its head makes of its last hidden states, and nothing else.

The learner computes log-probs from the hidden states and the head's weight (`TokenLogProbs`). A
model that scales or caps before or after its head, under whatever key of its config, would be
trained on other log-probs than it samples with. This is tried at loading, by the model's own code:
its backbone and its head are replaced by stubs with known outputs, so that no weight counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from stepcoder_dist.errors import ConfigError

_LARGEST_LOGIT = 200.0
"""Larger than what a trained model has: a cap shows."""
_TOKENS = 2


class _Answer:
    """What a backbone returns: its hidden states by name or place, and None for anything else."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, place: int) -> Tensor | None:
        return self.last_hidden_state if place == 0 else None


def refuse_other_logits(causal_lm: Any, folder: str) -> None:
    """Raise `ConfigError` for a model whose logits the learner would not compute as it does."""
    head = causal_lm.get_output_embeddings()
    weight = head.weight
    hidden = torch.linspace(-1, 1, _TOKENS * weight.shape[1]).view(1, _TOKENS, -1).to(weight.dtype)
    logits = torch.linspace(-_LARGEST_LOGIT, _LARGEST_LOGIT, _TOKENS * weight.shape[0])
    logits = logits.view(1, _TOKENS, -1).to(weight.dtype)
    given: list[Tensor] = []

    def before(_module: Any, inputs: tuple[Any, ...]) -> None:
        given.append(inputs[0])

    def after(_module: Any, _inputs: Any, _output: Any) -> Tensor:
        return logits

    hooks = [head.register_forward_pre_hook(before), head.register_forward_hook(after)]
    tokens = torch.zeros(1, _TOKENS, dtype=torch.long)
    try:
        with torch.no_grad(), _stubbed(causal_lm.base_model, hidden):
            found = causal_lm(input_ids=tokens, use_cache=False)
    except (AttributeError, TypeError, ValueError, RuntimeError, LookupError) as error:
        raise ConfigError(
            f"model {folder}: {type(causal_lm).__name__} does not make its logits of a backbone's "
            f"hidden states by one head ({type(error).__name__}: {error}); use another model"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
    if len(given) != 1:
        what = f"calls its head {len(given)} times"
    elif not _same(given[0], hidden):
        what = "changes its hidden states before the head"
    elif not _same(found.logits, logits):
        what = "changes its logits after the head (it scales, caps or masks them)"
    else:
        return
    raise ConfigError(
        f"model {folder}: {type(causal_lm).__name__} {what}, which the learner does not do; use a "
        "model without it"
    )


@contextmanager
def _stubbed(backbone: Any, hidden: Tensor) -> Iterator[None]:
    """Let the backbone answer with these hidden states, whatever it is asked."""

    def forward(*_arguments: Any, **_named: Any) -> _Answer:
        return _Answer(hidden)

    backbone.forward = forward  # on the object: the method of its class is as before
    try:
        yield
    finally:
        del backbone.forward


def _same(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(
        found.float(), expected.float(), rtol=1e-4, atol=0
    )
