"""Packed rows: laid out without padding, prompts shared, and no sample sees another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)

from learner.batches import batching, packed_attention, packing
from learner.policy_critic import Critic, Policy
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.records import SftExample

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
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "llama": (LlamaForCausalLM, LlamaConfig(**SIZES)),
    "mistral, a window of 5": (MistralForCausalLM, MistralConfig(**SIZES, sliding_window=5)),
}


def example(prompt: list[int], completion: list[int]) -> SftExample:
    return SftExample(
        prompt_ids=np.array(prompt, dtype=np.int32),
        completion_ids=np.array(completion, dtype=np.int32),
    )


def examples(count: int) -> list[SftExample]:
    random = np.random.default_rng(3)
    return [
        example(
            random.integers(0, 50, random.integers(1, 9)).tolist(),
            random.integers(0, 50, random.integers(1, 12)).tolist(),
        )
        for _ in range(count)
    ]


def logprobs(policy: Policy, micro: batching.MicroBatch) -> torch.Tensor:
    answer: torch.Tensor = policy(**micro.policy_inputs())[0]
    return answer


def test_a_packed_row_has_no_padding_and_each_token_is_predicted_from_its_own_example() -> None:
    batch = [example([11, 12, 13], [21, 22]), example([11], [31]), example([11, 12], [41])]

    micro = packing.pack((2, 0), batch, pad_id=0)

    assert micro.input_ids.tolist() == [[11, 12, 41, 11, 12, 13, 21, 22]]
    assert micro.position_ids is not None
    assert micro.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert micro.segments == ((3,), (5,))
    assert micro.predictors.tolist() == [1, 5, 6]
    assert micro.token_ids.tolist() == [41, 21, 22]
    assert micro.samples.tolist() == [2, 0, 0]
    assert micro.offsets.tolist() == [0, 0, 1]


def test_samples_of_one_prompt_share_it_and_all_first_tokens_come_from_its_last_column() -> None:
    batch = [example([11, 12], [21, 22]), example([13], [31]), example([11, 12], [41])]

    micro = packing.pack((0, 2, 1), batch, pad_id=0)

    assert micro.input_ids.tolist() == [[11, 12, 21, 22, 41, 13, 31]]
    assert micro.position_ids is not None
    assert micro.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert micro.segments == ((2, 2, 1), (2,))
    assert micro.predictors.tolist() == [1, 2, 1, 5]
    assert micro.token_ids.tolist() == [21, 22, 41, 31]
    assert micro.samples.tolist() == [0, 0, 2, 1]
    assert micro.offsets.tolist() == [0, 1, 0, 0]


def test_no_sample_at_all_is_a_row_of_one_column() -> None:
    micro = packing.pack((), [], pad_id=0)
    assert (micro.input_ids.shape, micro.segments) == ((1, 1), ((1,),))
    assert micro.token_ids.shape == micro.offsets.shape == micro.predictors.shape == (0,)


def groups() -> list[SftExample]:
    """Two groups, of 4 and 2 samples, and two samples alone, in no order."""
    random = np.random.default_rng(5)
    prompts = [random.integers(0, 50, size).tolist() for size in (9, 4, 7, 3)]
    return [
        example(prompts[number], random.integers(0, 50, random.integers(1, 12)).tolist())
        for number in (0, 1, 0, 2, 0, 1, 3, 0)
    ]


def gradients(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


def weights_of(number: int) -> torch.Tensor:
    """Different for each token, so that no mistake cancels."""
    return torch.linspace(-1.0, 2.0, number)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_samples_get_the_log_probs_and_gradients_that_they_get_alone(
    name: str, *, checkpointing: bool
) -> None:
    torch.manual_seed(0)
    kind, config = MODELS[name]
    policy = Policy(kind(config))
    batch, order = groups(), (0, 2, 4, 7, 1, 5, 3, 6)
    alone = torch.cat([logprobs(policy, batching.pack((i,), batch, 0)) for i in order])
    (alone * weights_of(len(alone))).sum().backward()
    expected = gradients(policy)
    packed_attention.install(policy.causal_lm, "tiny", key="sft.packing")
    if checkpointing:
        policy.causal_lm.gradient_checkpointing_enable({"use_reentrant": False})

    micro = packing.pack(order, batch, 0)
    packed = logprobs(policy.train(), micro)
    (packed * weights_of(len(packed))).sum().backward()

    assert micro.input_ids.shape[1] < sum(batching.lengths(batch)) - 20
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-5)
    found = gradients(policy)
    assert len(expected) > 10
    assert found.keys() == expected.keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-4, atol=1e-5)
    packed_attention.check_apart(policy, 50, "tiny", CPU, "sft.packing")


def test_a_critic_gives_packed_samples_the_values_that_they_get_alone() -> None:
    torch.manual_seed(0)
    critic = Critic(Qwen2Model(MODELS["qwen2"][1]), SIZES["hidden_size"])
    torch.nn.init.normal_(critic.value_head.weight)
    batch, order = groups(), (0, 2, 4, 7, 1, 5, 3, 6)
    alone = torch.cat([critic(**batching.pack((i,), batch, 0).critic_inputs()) for i in order])
    (alone * weights_of(len(alone))).sum().backward()
    expected = gradients(critic)
    packed_attention.install(critic.backbone, "tiny", key="learner.packing")

    packed = critic(**packing.pack(order, batch, 0).critic_inputs())
    (packed * weights_of(len(packed))).sum().backward()

    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-5)
    found = gradients(critic)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 5, 12])
def test_one_call_of_the_variable_length_kernel_is_the_same_attention(
    monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    """What a GPU does, with the kernel's documented arithmetic in plain products instead of it."""

    def kernel(query, key, value, query_ends, key_ends, longest_query, longest_key, **options):  # type: ignore[no-untyped-def]
        left, right = options["window_size"]
        assert options["enable_gqa"]
        assert right == 0
        answers = []
        for piece in range(len(query_ends) - 1):
            q = query[query_ends[piece] : query_ends[piece + 1]]
            k, v = (t[key_ends[piece] : key_ends[piece + 1]] for t in (key, value))
            assert len(q) <= longest_query
            assert len(k) <= longest_key
            k, v = (t.repeat_interleave(2, dim=1) for t in (k, v))
            # query i is aligned with key i + keys − queries
            distance = torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))
            seen = (distance >= 0) & ((distance <= left) | torch.tensor(left < 0))
            scores = torch.einsum("qhd,khd->hqk", q, k) * options["scale"]
            weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
            answers.append(torch.einsum("hqk,khd->qhd", weights, v))
        return torch.cat(answers)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    segments = ((9, 4, 11, 1), (7,), (3, 2, 6))
    random = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(1, h, 43, 8, generator=random) for h in (4, 2, 2))

    found = packed_attention._varlen(query, key, value, segments, 0.3, window)

    expected, _ = packed_attention.attend(
        torch.nn.Module(), query, key, value, None,
        segments=segments, scaling=0.3, sliding_window=window,
    )  # fmt: skip
    torch.testing.assert_close(found, expected)


@pytest.mark.gpu
def test_on_a_gpu_packed_samples_get_the_log_probs_and_gradients_that_they_get_alone() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    torch.manual_seed(0)
    config = Qwen2Config(**{**SIZES, "hidden_size": 256, "num_attention_heads": 4})
    policy = Policy(Qwen2ForCausalLM(config).to("cuda", torch.bfloat16))
    batch, order = groups(), (0, 2, 4, 7, 1, 5, 3, 6)
    device = torch.device("cuda")
    alone = torch.cat([logprobs(policy, batching.pack((i,), batch, 0).to(device)) for i in order])
    alone.sum().backward()
    expected = gradients(policy)
    packed_attention.install(policy.causal_lm, "tiny", key="learner.packing")

    packed = logprobs(policy, packing.pack(order, batch, 0).to(device))
    packed.sum().backward()

    torch.testing.assert_close(packed, alone, rtol=0, atol=0.05)
    for parameter, gradient in gradients(policy).items():
        close = torch.nn.functional.cosine_similarity(
            gradient.flatten().float(), expected[parameter].flatten().float(), dim=0
        )
        assert close > 0.99, parameter


def test_gradient_checkpointing_computes_the_same_packed_rows_again() -> None:
    torch.manual_seed(0)
    policy = Policy(Qwen2ForCausalLM(MODELS["qwen2"][1]))
    packed_attention.install(policy.causal_lm, "tiny", key="sft.packing")
    micro = packing.pack((0, 1, 2), examples(3), 0)
    logprobs(policy, micro).sum().backward()
    weight = policy.causal_lm.model.layers[0].self_attn.q_proj.weight
    expected = weight.grad.clone()
    policy.zero_grad()
    policy.causal_lm.gradient_checkpointing_enable({"use_reentrant": False})

    logprobs(policy.train(), micro).sum().backward()

    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.parametrize(
    ("family", "own", "what"),
    [
        ("GptOss", {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8}, "s_aux"),
        ("Gemma2", {"head_dim": 8, "attn_logit_softcapping": 1.0}, "softcap"),
    ],
)
def test_a_model_whose_attention_has_more_than_ours_is_refused(
    family: str, own: dict[str, Any], what: str
) -> None:
    """Its log-probs would be others than those that it samples with, and nothing would show it."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES, **own, pad_token_id=0)
    policy = Policy(getattr(transformers, f"{family}ForCausalLM")(config))
    packed_attention.install(policy.causal_lm, "m", key="learner.packing")

    with pytest.raises(ConfigError, match=f"m has {what} in its .* set learner.packing = false"):
        packed_attention.check_apart(policy, 50, "m", CPU, "learner.packing")


def test_a_model_that_ignores_where_examples_end_is_refused() -> None:
    torch.manual_seed(0)
    policy = Policy(Qwen2ForCausalLM(MODELS["qwen2"][1]))

    def whole_row(**inputs: Any) -> Any:
        return policy(**{**inputs, "position_ids": None, "segments": ()})

    with pytest.raises(ConfigError, match=r"m does not keep .* set sft.packing = false"):
        packed_attention.check_apart(whole_row, 50, "m", CPU, "sft.packing")


def test_a_model_with_recurrent_layers_is_refused() -> None:
    config = Qwen2Config(**SIZES)
    model = Qwen2ForCausalLM(config)
    model.config.layer_types = ["full_attention", "linear_attention"]

    with pytest.raises(ConfigError, match="it has linear_attention layers"):
        packed_attention.install(model, "m", key="sft.packing")
