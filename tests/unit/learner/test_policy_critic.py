"""Networks as they are loaded: without anything random in a training pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402

from learner import policy_critic  # noqa: E402
from stepcoder_dist.config import ModelConfig  # noqa: E402

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
TOKENS = torch.arange(1, 25)
NOISY: dict[str, tuple[str, dict[str, Any]]] = {
    # 0.1 each in the published folders of StarCoder2
    "residuals": ("Starcoder2", {"residual_dropout": 0.5}),
    "embeddings": ("Starcoder2", {"embedding_dropout": 0.5}),
    "attention": ("Starcoder2", {"attention_dropout": 0.5}),
    "hidden states": ("Bloom", {"hidden_dropout": 0.5}),
    "modules, and attention": ("GPTBigCode", {"resid_pdrop": 0.5, "attn_pdrop": 0.5}),
    "routers": ("Mixtral", {"router_jitter_noise": 0.5, "num_key_value_heads": 4}),
}


def folder(at: Path, family: str, config: dict[str, Any]) -> str:
    torch.manual_seed(0)
    settings = getattr(transformers, f"{family}Config")(**SMALL, **config)
    network = getattr(transformers, f"{family}ForCausalLM")(settings)
    for parameter in network.parameters():  # large enough for noise to show
        torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(at)
    return str(at)


@pytest.mark.parametrize("what", NOISY)
def test_two_training_passes_of_the_same_weights_say_the_same(tmp_path: Path, what: str) -> None:
    path = folder(tmp_path, *NOISY[what])
    policy = policy_critic.load_policy(path, ModelConfig(path=path, dtype="float32"))
    critic = policy_critic.load_critic(path, ModelConfig(path=path, dtype="float32"))
    torch.nn.init.normal_(critic.value_head.weight)
    row = {
        "input_ids": TOKENS[None],
        "rows": torch.zeros(23, dtype=torch.int64),
        "predictors": torch.arange(23),
    }
    tokens = {"token_ids": TOKENS[1:], "temperatures": torch.ones(23)}

    assert policy.training
    first, second = policy(**row, **tokens)[0], policy(**row, **tokens)[0]
    assert torch.equal(first, second)
    torch.testing.assert_close(policy.eval()(**row, **tokens)[0], first)
    assert torch.equal(critic(**row), critic(**row))
