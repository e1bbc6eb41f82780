"""Products by oneDNN are those of torch, up to the order of their sums."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from learner.kernels import products
from learner.lora.adapter import adapt
from learner.policy_critic import Policy
from stepcoder_dist.config import LoraConfig

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MODELS: dict[str, tuple[Any, Any]] = {
    "qwen2, biases and a tied head": (
        Qwen2ForCausalLM,
        Qwen2Config(**SIZES, tie_word_embeddings=True),
    ),
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
}


def policy_of(name: str, *, lora: bool = False, dtype: torch.dtype = torch.float32) -> Policy:
    torch.manual_seed(0)
    made, config = MODELS[name]
    policy = Policy(made(config).to(dtype))
    if lora:
        adapt(policy.causal_lm, LoraConfig(rank=2), "folder", 0)
        for parameter in policy.parameters():  # an adapter that is 0 would hide a wrong product
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.1)
    return policy


def answers(policy: Policy) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    ids = torch.arange(40).reshape(2, 20) % 50
    logprobs, _ = policy(
        input_ids=ids,
        rows=torch.zeros(19, dtype=torch.int64),
        predictors=torch.arange(19),
        token_ids=ids[0, 1:],
        temperatures=torch.linspace(0.5, 1.5, 19),
    )
    (logprobs * torch.linspace(-1, 1, 19)).sum().backward()
    grads = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
    return logprobs.detach(), grads


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_log_probs_and_gradients_by_onednn_are_those_of_torch(name: str, lora: bool) -> None:
    plain = policy_of(name, lora=lora)
    fast = copy.deepcopy(plain)
    products.install(fast, CPU)
    took = {type(p).__name__ for p in fast.modules() if getattr(p, "products", None)}

    expected, expected_grads = answers(plain)
    got, grads = answers(fast)

    assert took == {"TokenLogProbs", "LoraLinear"} if lora else {"TokenLogProbs"}
    assert not any(type(part) is nn.Linear for part in fast.modules())
    assert torch.allclose(got, expected, atol=1e-5)
    assert grads.keys() == expected_grads.keys()
    for each, grad in grads.items():
        other = expected_grads[each]
        assert (grad - other).norm() <= 1e-4 * other.norm(), each


def test_products_by_onednn_are_repeated_bit_for_bit() -> None:
    policy = policy_of("llama")
    products.install(policy, CPU)

    first, first_grads = answers(policy)
    policy.zero_grad()
    second, second_grads = answers(policy)

    assert torch.equal(first, second)
    assert all(torch.equal(grad, second_grads[name]) for name, grad in first_grads.items())


def test_a_network_in_bfloat16_stays_as_it_is() -> None:
    policy = policy_of("llama", dtype=torch.bfloat16)

    products.install(policy, CPU)

    head = policy.causal_lm.get_output_embeddings()
    assert head.products is products.TORCH
    assert any(type(part) is nn.Linear for part in policy.modules())


def test_no_rows_give_no_answer_and_zero_gradients() -> None:
    layer = nn.Linear(4, 3)
    products.install(layer, CPU)

    layer(torch.zeros(0, 4)).sum().backward()

    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.zeros(3, 4))
