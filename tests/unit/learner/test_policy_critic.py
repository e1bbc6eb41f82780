"""Networks as they are loaded: the same function in every pass, whatever shares a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402

from learner import policy_critic  # noqa: E402
from learner.batches import packed_attention, packing  # noqa: E402
from stepcoder_dist.config import ModelConfig  # noqa: E402
from stepcoder_dist.errors import ConfigError  # noqa: E402
from stepcoder_dist.records import SftExample  # noqa: E402

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


ROPE = {"rope_theta": 10000.0}
LONG = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "original_max_position_embeddings": 16}
OF_A_ROW: dict[str, tuple[str, dict[str, Any]]] = {
    "longrope": (
        "Phi3",
        {
            "max_position_embeddings": 64,
            "original_max_position_embeddings": 16,
            "rope_parameters": ROPE | LONG | {"rope_type": "longrope"},
        },
    ),
    "dynamic": (
        "Llama",
        {
            "max_position_embeddings": 16,
            "rope_parameters": ROPE | {"rope_type": "dynamic", "factor": 4.0},
        },
    ),
}


def first_of(path: str, longest: int, max_tokens: int) -> Any:
    """Log-probs of a sample of 8 tokens: alone, and in a row with one of `longest` tokens."""
    model = ModelConfig(path=path, dtype="float32", max_tokens=max_tokens)
    policy = policy_critic.load_policy(path, model)
    packed_attention.install(policy.causal_lm, path, key="learner.packing")
    batch = [
        SftExample(
            prompt_ids=np.arange(1, tokens - 3, dtype=np.int32),
            completion_ids=np.arange(5, 9, dtype=np.int32),
        )
        for tokens in (8, longest)
    ]
    rows = (packing.pack(samples, batch, 0) for samples in ((0,), (0, 1)))
    return [policy(**row.policy_inputs())[0][:4] for row in rows]


@pytest.mark.parametrize("what", OF_A_ROW)
def test_angles_that_depend_on_the_longest_sample_of_a_row_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = folder(tmp_path, *OF_A_ROW[what])
    torch.testing.assert_close(*first_of(path, longest=16, max_tokens=16), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match=f'"{what}".* lower model.max_tokens = 40 to 16'):
        first_of(path, longest=40, max_tokens=40)
    # without the refusal
    monkeypatch.setattr(policy_critic, "refuse_angles_of_a_row", lambda *_: None)
    alone, together = first_of(path, longest=40, max_tokens=40)
    assert (alone - together).abs().max() > 0.01


def test_other_angles_are_taken_at_any_length(tmp_path: Path) -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    config = {"max_position_embeddings": 64, "rope_parameters": ROPE | yarn}
    path = folder(tmp_path, "Llama", config)
    torch.testing.assert_close(*first_of(path, longest=40, max_tokens=64), rtol=0, atol=1e-4)
