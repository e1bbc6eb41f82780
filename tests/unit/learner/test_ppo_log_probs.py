"""The chunked log-probs against torch's own, values and gradients."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from learner.kernels import token_logprobs
from learner.kernels.token_logprobs import TokenLogProbs


@pytest.mark.parametrize("chunk_elements", [1, 40, 10_000])
@pytest.mark.parametrize("bias", [False, True])
def test_chunked_log_probs_and_their_gradients_are_those_of_log_softmax(
    chunk_elements: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_logprobs, "CHUNK_ELEMENTS", chunk_elements)
    torch.manual_seed(0)
    linear = nn.Linear(8, 13, bias=bias, dtype=torch.float64)
    head = TokenLogProbs(linear)
    hidden = torch.randn(9, 8, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(0, 13, (9,))
    temperatures = torch.linspace(0.5, 2.0, 9)
    weights = torch.randn(9)

    logprobs, entropy = head(hidden, ids, temperatures)
    (logprobs * weights).sum().backward()
    got = [hidden.grad, *(p.grad for p in head.parameters())]
    hidden.grad = None
    head.zero_grad()
    full = torch.log_softmax(linear(hidden) / temperatures[:, None], dim=-1)
    picked = full[torch.arange(9), ids]
    (picked * weights).sum().backward()

    assert torch.allclose(logprobs.double(), picked, atol=1e-6)
    assert torch.allclose(entropy.double(), -(full.exp() * full).sum(-1), atol=1e-6)
    for ours, theirs in zip(
        got, [hidden.grad, *(p.grad for p in linear.parameters())], strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_no_tokens_give_no_log_probs_and_zero_gradients() -> None:
    head = TokenLogProbs(nn.Linear(4, 5, bias=False))
    hidden = torch.zeros(0, 4, requires_grad=True)

    logprobs, _ = head(hidden, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    logprobs.sum().backward()

    assert logprobs.shape == (0,)
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("gib", "elements"), [(8, 2**24), (24, 50_331_648), (80, 167_772_160), (141, 295_698_432)]
)
def test_a_larger_gpu_takes_larger_chunks_a_32nd_of_it(
    gib: int, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    assert token_logprobs.chunk_elements(torch.device("cuda", 0)) == elements
    assert token_logprobs.chunk_elements(torch.device("cpu")) == 2**24
