"""The three networks: policy, critic (same backbone, scalar head) and the frozen reference.

All start from the SFT checkpoint, an ordinary Hugging Face folder. Each takes a micro-batch's
tensors and answers per completion token; only the hidden states that predict completion tokens
reach a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM

from learner.batches import packed_attention
from learner.batches.packed_attention import Segments
from learner.kernels.token_logprobs import TokenLogProbs
from learner.logits_check import refuse_other_logits
from learner.lora.adapter import adapt
from learner.positions_check import refuse_angles_of_a_row
from stepcoder_dist.config import LoraConfig, ModelConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host import model_source

_JITTER = {"jitter_noise", "input_jitter_noise"}
"""What routers of experts call the noise that they add to their inputs while they train."""


class Policy(nn.Module):
    """A causal language model that answers with log-probs. The reference is one too."""

    def __init__(self, causal_lm: Any) -> None:
        super().__init__()
        self.causal_lm = causal_lm
        """The Hugging Face module: its parameter names are those of a weight push."""
        causal_lm.set_output_embeddings(TokenLogProbs(causal_lm.get_output_embeddings()))

    def forward(
        self,
        input_ids: Tensor,
        rows: Tensor,
        predictors: Tensor,
        token_ids: Tensor,
        temperatures: Tensor,
        position_ids: Tensor | None = None,
        segments: Segments = (),
    ) -> tuple[Tensor, Tensor]:
        """Return log π(token) at its temperature, and the entropy there: float32 [N] each.

        `position_ids` and `segments` come with packed rows only (`learner/batches/packing.py`).
        """
        hidden = _hidden(self.causal_lm.base_model, input_ids, position_ids, segments)
        result: tuple[Tensor, Tensor] = self.causal_lm.get_output_embeddings()(
            hidden[rows, predictors], token_ids, temperatures
        )
        return result


class Critic(nn.Module):
    """V(state before token t), from the same position that predicts token t."""

    def __init__(self, backbone: Any, hidden_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.value_head = nn.Linear(hidden_size, 1)
        # every value starts at 0: the first advantages are then plain returns, not noise
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(
        self,
        input_ids: Tensor,
        rows: Tensor,
        predictors: Tensor,
        position_ids: Tensor | None = None,
        segments: Segments = (),
    ) -> Tensor:
        """Return the values, float32 [N]."""
        hidden = _hidden(self.backbone, input_ids, position_ids, segments)
        values: Tensor = self.value_head(hidden[rows, predictors])
        return values.squeeze(-1).float()


def load_policy(
    folder: str,
    model: ModelConfig,
    *,
    gradient_checkpointing: bool = False,
    lora: LoraConfig | None = None,
    seed: int = 0,
) -> Policy:
    """Load the policy. Raises `ConfigError` for a folder without a trainable causal LM.

    `lora`: freeze it, and add adapters that are drawn from `seed`; raises `ConfigError` where its
    targets are not there.
    """
    causal_lm = _load(AutoModelForCausalLM, folder, model)
    refuse_other_logits(causal_lm, folder)
    refuse_angles_of_a_row(causal_lm.config, folder, model.max_tokens)
    _prepare(causal_lm, gradient_checkpointing=gradient_checkpointing)
    policy = Policy(causal_lm)
    if lora is not None:
        adapt(causal_lm, lora, folder, seed)
    return policy


def load_critic(
    folder: str,
    model: ModelConfig,
    *,
    gradient_checkpointing: bool = False,
    lora: LoraConfig | None = None,
    seed: int = 0,
) -> Critic:
    """Return the checkpoint's backbone under a zero value head, which `lora` does not freeze."""
    backbone = _load(AutoModel, folder, model)
    _prepare(backbone, gradient_checkpointing=gradient_checkpointing)
    if lora is not None:
        adapt(backbone, lora, folder, seed)
    critic = Critic(backbone, backbone.config.hidden_size)
    return critic.to(getattr(torch, model.dtype))


def load_reference(folder: str, model: ModelConfig) -> Policy:
    """Return the policy as it was at version 0; never trained."""
    reference = load_policy(folder, model).eval()
    reference.requires_grad_(requires_grad=False)
    return reference


def _hidden(
    backbone: Any, input_ids: Tensor, position_ids: Tensor | None, segments: Segments
) -> Tensor:
    """Return the last layer's states [B, L, H]."""
    packed = {"position_ids": position_ids, "segments": segments} if segments else {}
    if segments and not packed_attention.installed(backbone):
        raise ValueError("a packed row needs packed_attention.install on this model")
    hidden: Tensor = backbone(input_ids=input_ids, use_cache=False, **packed).last_hidden_state
    return hidden


def _load(auto_class: Any, folder: str, model: ModelConfig) -> Any:
    source = model_source.find(folder).checked()
    try:
        return auto_class.from_pretrained(source.text, dtype=getattr(torch, model.dtype))
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(
            f"model {source.text} cannot be loaded ({first_line}); give a Hugging Face folder or "
            "name"
        ) from error


def _prepare(module: Any, *, gradient_checkpointing: bool) -> None:
    module.train()
    # no dropout: π_old and π_θ have to be the same function before the first update
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        # many models keep a share as a number of a module's own, and drop by a function call
        for name, value in vars(part).items():
            if ("drop" in name or name in _JITTER) and type(value) in (int, float):
                setattr(part, name, 0.0)
    if gradient_checkpointing:
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
