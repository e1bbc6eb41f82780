"""A model that scales or caps its logits is found at loading, whatever its config calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepcoder_dist.config import ModelConfig
from stepcoder_dist.errors import ConfigError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def made(family: str, **config: Any) -> Any:
    settings = getattr(transformers, f"{family}Config")(**SMALL, **config)
    torch.manual_seed(0)
    return getattr(transformers, f"{family}ForCausalLM")(settings)


def largest_difference(model: Any) -> float:
    """How far the model's own log-probs are from those that the learner would compute."""
    tokens = torch.arange(6)[None]
    with torch.no_grad():
        own = model.eval()(input_ids=tokens, use_cache=False).logits
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        ours = model.get_output_embeddings()(hidden)
    return float((own.log_softmax(-1) - ours.log_softmax(-1)).abs().max())


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("Qwen2", {}),
        ("Llama", {}),
        ("Mixtral", {"num_local_experts": 2}),
        ("Gemma2", {"head_dim": 16, "final_logit_softcapping": None}),
        ("Cohere", {"logit_scale": 1.0}),
        ("Granite", {"logits_scaling": 1.0}),
    ],
)
def test_a_model_whose_logits_are_its_heads_is_accepted_and_works_as_before(family, config):
    from learner.logits_check import refuse_other_logits

    model = made(family, **config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refuse_other_logits(model, "folder")
    assert largest_difference(model) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "forward" not in vars(model.base_model)
    assert not model.get_output_embeddings()._forward_hooks


@pytest.mark.parametrize(
    ("family", "config", "what"),
    [
        ("Gemma2", {"head_dim": 16, "final_logit_softcapping": 1.0}, "its logits after the head"),
        ("Gemma2", {"head_dim": 16, "final_logit_softcapping": 30.0}, "its logits after the head"),
        ("Cohere", {"logit_scale": 0.0625}, "its logits after the head"),
        ("Granite", {"logits_scaling": 8.0}, "its logits after the head"),
        ("MiniCPM3", {}, "its hidden states before the head"),
    ],
)
def test_a_model_that_changes_them_is_refused(family, config, what):
    from learner.logits_check import refuse_other_logits

    model = made(family, **config)
    assert largest_difference(model) > 0
    with pytest.raises(ConfigError, match=f"^model folder: {family}ForCausalLM changes {what}"):
        refuse_other_logits(model, "folder")


def test_a_factor_under_a_name_that_nobody_knows_is_found_too():
    from learner.logits_check import refuse_other_logits

    base = transformers.Qwen2ForCausalLM

    class Muted(base):  # type: ignore[misc,valid-type]
        def forward(self, *arguments: Any, **named: Any) -> Any:
            found = super().forward(*arguments, **named)
            found.logits = found.logits * 0.9
            return found

    with pytest.raises(ConfigError, match="Muted changes its logits after the head"):
        refuse_other_logits(Muted(made("Qwen2").config), "folder")


def test_loading_a_policy_compares_its_logits(tmp_path: Path):
    from learner.policy_critic import load_policy

    made("Gemma2", head_dim=16, final_logit_softcapping=1.0).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="changes its logits after the head"):
        load_policy(str(tmp_path), ModelConfig(path=str(tmp_path), dtype="float32"))


def test_a_generation_config_that_cannot_be_saved_is_copied_as_it_is(tmp_path: Path):
    from learner.saving import hf_folder
    from stepcoder_dist.problems import ladder

    source = tmp_path / "source"
    made("Qwen2").save_pretrained(source)
    ladder.write_tokenizer(source)
    asked = '{"do_sample": false, "temperature": 0.7, "eos_token_id": [0, 5]}'
    (source / "generation_config.json").write_text(asked)
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    assert model.generation_config.temperature == 0.7
    state = {name: value.detach() for name, value in model.named_parameters()}
    hf_folder.save(model, state, str(source), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == json.loads(
        asked
    )
