"""Packed rows: dealt evenly, laid out without padding, and no example sees another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from learner import batching
from learner.policy_critic import Policy
from learner.warm_start import packed_attention, packing
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.records import SftExample

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
    assert micro.segments == (3, 5)
    assert micro.predictors.tolist() == [1, 5, 6]
    assert micro.token_ids.tolist() == [41, 21, 22]
    assert micro.samples.tolist() == [2, 0, 0]
    assert micro.offsets.tolist() == [0, 0, 1]


def test_rows_are_few_and_of_like_length_and_every_rank_gets_the_same_number() -> None:
    lengths = [9, 1, 4, 8, 2, 7, 3]

    assert packing.deal(tuple(range(7)), lengths, ranks=1, capacity_tokens=40) == [
        [(0, 3, 5, 2, 6, 4, 1)]
    ]
    # 34 tokens in rows of 10: four rows of 9, 8, 7 + 2 and 4 + 3 + 1 tokens, two for each rank
    plan = packing.deal(tuple(range(7)), lengths, ranks=2, capacity_tokens=10)
    assert plan == [[(0,), (5, 4)], [(3,), (2, 6, 1)]]


def test_what_does_not_fit_gets_another_round_and_a_long_example_a_row_of_its_own() -> None:
    # 3 × 6 tokens fill two rows of 9 by their sum, but no two of them fit into one
    assert packing.deal((0, 1, 2), [6, 6, 6], ranks=1, capacity_tokens=9) == [[(0,), (1,), (2,)]]
    assert packing.deal((0, 1), [50, 3], ranks=1, capacity_tokens=10) == [[(0,), (1,)]]


def test_a_rank_without_work_gets_an_empty_row() -> None:
    plan = packing.deal((0,), [5], ranks=2, capacity_tokens=10)

    assert plan == [[(0,)], [()]]
    assert packing.pack((), [], pad_id=0).input_ids.shape == (1, 1)


@pytest.mark.parametrize("name", MODELS)
def test_packed_examples_get_the_log_probs_and_gradients_that_they_get_alone(name: str) -> None:
    torch.manual_seed(0)
    kind, config = MODELS[name]
    policy = Policy(kind(config))
    batch = examples(6)
    alone = torch.cat([logprobs(policy, batching.pack((i,), batch, 0)) for i in range(6)])
    alone.sum().backward()
    expected = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    packed_attention.install(policy.causal_lm, "tiny")

    packed = logprobs(policy, packing.pack(tuple(range(6)), batch, 0))
    packed.sum().backward()

    torch.testing.assert_close(packed, alone, rtol=0, atol=2e-6)
    assert len(expected) > 10
    for parameter_name, parameter in policy.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[parameter_name], rtol=1e-4, atol=1e-5)
    packed_attention.check_apart(policy, 50, "tiny", torch.device("cpu"))


def test_gradient_checkpointing_computes_the_same_packed_rows_again() -> None:
    torch.manual_seed(0)
    policy = Policy(Qwen2ForCausalLM(MODELS["qwen2"][1]))
    packed_attention.install(policy.causal_lm, "tiny")
    micro = packing.pack((0, 1, 2), examples(3), 0)
    logprobs(policy, micro).sum().backward()
    weight = policy.causal_lm.model.layers[0].self_attn.q_proj.weight
    expected = weight.grad.clone()
    policy.zero_grad()
    policy.causal_lm.gradient_checkpointing_enable({"use_reentrant": False})

    logprobs(policy.train(), micro).sum().backward()

    torch.testing.assert_close(weight.grad, expected)


def test_a_model_that_ignores_where_examples_end_is_refused() -> None:
    torch.manual_seed(0)
    policy = Policy(Qwen2ForCausalLM(MODELS["qwen2"][1]))

    def whole_row(**inputs: Any) -> Any:
        return policy(**{**inputs, "position_ids": None, "segments": ()})

    with pytest.raises(ConfigError, match=r"m does not keep .* set sft.packing = false"):
        packed_attention.check_apart(whole_row, 50, "m", torch.device("cpu"))


def test_a_model_with_recurrent_layers_is_refused() -> None:
    config = Qwen2Config(**SIZES)
    model = Qwen2ForCausalLM(config)
    model.config.layer_types = ["full_attention", "linear_attention"]

    with pytest.raises(ConfigError, match="it has linear_attention layers"):
        packed_attention.install(model, "m")
