"""Adapters on tiny models: what is trained, what is pushed and exported, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from learner import policy_critic  # noqa: E402
from learner.batches import batching  # noqa: E402
from learner.lora import peft_folder  # noqa: E402
from learner.lora.adapter import LoraLinear, adapters, adapters_off  # noqa: E402
from learner.push.weight_buckets import named_parameters, plan_buckets, whole_tensors  # noqa: E402
from learner.saving import hf_folder  # noqa: E402
from stepcoder_dist.config import LoraConfig, ModelConfig  # noqa: E402
from stepcoder_dist.errors import ConfigError  # noqa: E402
from stepcoder_dist.records import SftExample  # noqa: E402

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 0,
}
LORA = LoraConfig(rank=4, alpha=8)


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Biases, and a tied head."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("qwen2")
    Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True)).save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """No biases, and a head of its own."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(path)
    return str(path)


@pytest.fixture(params=["qwen2", "llama"])
def folder(request: pytest.FixtureRequest) -> str:
    path: str = request.getfixturevalue(request.param)
    return path


def policy(folder: str, lora: LoraConfig | None = LORA, *, dtype: str = "float32") -> Any:
    return policy_critic.load_policy(folder, ModelConfig(path=folder, dtype=dtype), lora=lora)


def trained(folder: str, *, dtype: str = "float32") -> Any:
    """A policy whose adapters change what it says."""
    network = policy(folder, dtype=dtype)
    torch.manual_seed(1)
    for layer in adapters(network).values():
        torch.nn.init.normal_(layer.lora_b, std=0.2)
    return network


def logprobs(network: Any) -> torch.Tensor:
    ids = torch.arange(3, 15, dtype=torch.int32).numpy()
    micro = batching.pack((0,), [SftExample(prompt_ids=ids[:4], completion_ids=ids[4:])], 0)
    answer: torch.Tensor = network(**micro.policy_inputs())[0]
    return answer


def test_a_new_adapter_changes_nothing_and_only_it_is_trained(folder: str) -> None:
    network = policy(folder)
    assert torch.equal(logprobs(network), logprobs(policy(folder, None)))

    logprobs(network).sum().backward()
    with_gradient = {name for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in network.named_parameters() if p.requires_grad}
    layers = [f"causal_lm.model.layers.{n}" for n in (0, 1)]
    attention = [f"self_attn.{name}_proj" for name in "qkvo"]
    wide = [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    assert with_gradient == {
        f"{layer}.{name}.lora_{part}"
        for layer in layers
        for name in (*attention, *wide)
        for part in "ab"
    }


def test_adapters_are_drawn_from_the_seed(qwen2: str) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        model = ModelConfig(path=qwen2, dtype="float32")
        network = policy_critic.load_policy(qwen2, model, lora=LORA, seed=seed)
        return [layer.lora_a for layer in adapters(network).values()]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])
    # uniform within 1/√in
    assert 0.9 < float(first[0].detach().abs().max()) * 32**0.5 <= 1


def test_targets_are_the_last_parts_of_names(qwen2: str) -> None:
    def named(*targets: str) -> list[str]:
        network = policy(qwen2, LoraConfig(rank=2, targets=targets))
        return list(adapters(network.causal_lm))

    two = [f"model.layers.{n}.self_attn.q_proj" for n in (0, 1)]
    assert named("q_proj") == two
    assert named("self_attn.q_proj") == two
    assert named("model.layers.1.self_attn.q_proj") == two[1:]
    assert named("down_proj", "layers.0.self_attn.o_proj") == [
        "model.layers.0.self_attn.o_proj",
        "model.layers.0.mlp.down_proj",
        "model.layers.1.mlp.down_proj",
    ]


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("query", r'"query" matches no layer in model .*; its linear layers are down_proj, gate_'),
        ("proj", r'"proj" matches no layer'),
        ("lm_head", r'"lm_head" is lm_head, which stays as it is: output layer and embedding may'),
        ("embed_tokens", r'"embed_tokens" is model.embed_tokens, which stays as it is'),
        ("mlp", r'"mlp" is model.layers.0.mlp, a \w+MLP in model'),
    ],
)
def test_a_target_that_is_no_linear_layer_is_refused(llama: str, target: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^learner.lora.targets: {why}") as refused:
        policy(llama, LoraConfig(targets=("q_proj", target)))
    assert "\n" not in str(refused.value)


def test_a_critic_trains_its_value_head_and_its_adapters_under_the_policys_targets(
    llama: str,
) -> None:
    model = ModelConfig(path=llama, dtype="float32")
    lora = LoraConfig(rank=4, targets=("model.layers.1.mlp.up_proj",))
    critic = policy_critic.load_critic(llama, model, lora=lora)
    assert [name for name, p in critic.named_parameters() if p.requires_grad] == [
        "backbone.layers.1.mlp.up_proj.lora_a",
        "backbone.layers.1.mlp.up_proj.lora_b",
        "value_head.weight",
        "value_head.bias",
    ]


def test_without_its_adapters_a_policy_is_the_model_that_it_was_loaded_from(qwen2: str) -> None:
    network = trained(qwen2)
    answer = logprobs(network)
    with adapters_off(network):
        assert torch.equal(logprobs(network), logprobs(policy(qwen2, None)))
    assert torch.equal(logprobs(network), answer)


def test_a_push_has_the_plain_models_parameters_with_the_adapters_in_them(folder: str) -> None:
    network, plain = trained(folder), policy(folder, None)
    pushed = dict(whole_tensors(plan_buckets(network.causal_lm, 4096)))

    assert list(pushed) == [name for name, _ in plain.causal_lm.named_parameters()]
    assert {n: t.shape for n, t in pushed.items()} == {
        n: p.shape for n, p in plain.causal_lm.named_parameters()
    }
    before = logprobs(plain)
    plain.causal_lm.load_state_dict(pushed, strict=False)
    assert not torch.allclose(logprobs(plain), before, atol=0.01)
    torch.testing.assert_close(logprobs(plain), logprobs(network), atol=1e-5, rtol=0)


def test_bfloat16_weights_are_merged_in_float32_and_rounded_once() -> None:
    linear = torch.nn.Linear(2, 2, bias=False, dtype=torch.bfloat16)
    layer = LoraLinear(linear, LoraConfig(rank=1, alpha=1), seed=0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0], [0.25, 1.0]]))
        layer.lora_a.copy_(torch.tensor([[1.0, 1.0]]))
        # from 1 bfloat16 has steps of 1/128, from 1/2 of 1/256, from 1/4 of 1/512
        layer.lora_b.copy_(torch.tensor([[1 / 512], [3 / 512]]))

    # 1 + 1/512 -> 1; -1 + 1/512 is half of a step off, to even: -1; 1 + 3/512 -> 1 + 1/128
    expected = [[1.0, -1.0], [0.25 + 3 / 512, 1 + 1 / 128]]
    assert layer.merged().tolist() == expected
    assert layer.merged().dtype == torch.bfloat16


def test_dropout_is_for_training_passes_only(qwen2: str) -> None:
    network = policy(qwen2, LoraConfig(rank=4, dropout=0.5))
    for layer in adapters(network).values():
        torch.nn.init.ones_(layer.lora_b)
    with torch.no_grad():
        assert torch.equal(logprobs(network), logprobs(network))
    assert not torch.equal(logprobs(network), logprobs(network))


def test_an_export_is_merged_and_has_the_adapter_in_pefts_format(
    folder: str, tiny_tokenizer_folder: Path, tmp_path: Path
) -> None:
    network, out = trained(folder), tmp_path / "out"
    state = {named.name: named.complete() for named in named_parameters(network.causal_lm)}
    adapter = {n: p.detach() for n, p in peft_folder.parameters(network.causal_lm).items()}
    source = str(tiny_tokenizer_folder)
    hf_folder.save(network.causal_lm, state, source, out, lora=LORA, adapter=adapter)

    torch.testing.assert_close(
        logprobs(policy(str(out), None)), logprobs(network), atol=1e-5, rtol=0
    )
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 8)
    assert config["target_modules"][0] == "model.layers.0.mlp.down_proj"
    saved = load_file(out / "adapter" / "adapter_model.safetensors")
    base = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert len(saved) == 2 * 14
    for name in config["target_modules"]:
        a, b = (saved[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
        expected = base[f"{name}.weight"] + 8 / 4 * b @ a
        torch.testing.assert_close(state[f"{name}.weight"], expected)


def test_a_frozen_head_gets_no_gradient_and_hidden_states_the_same_one(qwen2: str) -> None:
    hidden = torch.randn(5, 32, requires_grad=True)
    inputs = (torch.arange(5), torch.full((5,), 0.7))
    gradients = []
    for lora in (None, LORA):
        head = policy(qwen2, lora).causal_lm.get_output_embeddings()
        head(hidden, *inputs)[0].sum().backward()
        assert (head.weight.grad is None) == (lora is not None)
        gradients.append(hidden.grad)
        hidden.grad = None
    assert torch.equal(*gradients)
