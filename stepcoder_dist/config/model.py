"""`[model]`: what is trained, and where it starts from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from stepcoder_dist.config.counts import NOTHING, TRAIN_AND_EVALUATION, Counts
from stepcoder_dist.config.section import Positive, Section, WrittenPath, divides

VLLM_CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)


class TinyModel(Section):
    """A randomly initialised Qwen2 with a tokenizer made for the ladder problems."""

    hidden_size: Positive = 128
    layers: Positive = 4
    heads: Positive = 4
    kv_heads: Positive = 4
    intermediate_size: Positive = 512
    max_positions: Positive = 2048

    @model_validator(mode="after")
    def _heads_fit(self) -> TinyModel:
        divides(self, "heads", "hidden_size")
        divides(self, "kv_heads", "heads")
        if self.hidden_size // self.heads not in VLLM_CPU_HEAD_SIZES:
            sizes = ", ".join(map(str, VLLM_CPU_HEAD_SIZES))
            raise ValueError(
                f"hidden_size = {self.hidden_size} over heads = {self.heads} gives a head of "
                f"{self.hidden_size // self.heads}; vLLM's CPU attention knows {sizes}"
            )
        return self


class ModelShape(Section):
    """What `config.json` says about a Llama-like decoder (gated MLP, RMSNorm). Used to estimate
    memory while the checkpoint is not on this machine; nothing else reads it."""

    counts: ClassVar[Counts] = NOTHING

    hidden_size: Positive
    layers: Positive
    heads: Positive
    kv_heads: Positive
    intermediate_size: Positive
    vocabulary: Positive
    head_size: Positive | None = None
    """`head_dim`; not set: hidden_size / heads."""
    tied_embeddings: bool = False
    """`tie_word_embeddings`."""
    attention_bias: bool = False
    """Query, key and value have biases, as in Qwen2."""


class ModelConfig(Section):
    path: WrittenPath = ""
    """Folder or hub name of the checkpoint that SFT starts from; empty: `tiny` is made."""
    tiny: TinyModel | None = None
    """Make a tiny model instead: the section below."""
    shape: ModelShape | None = None
    """Dimensions for estimates: the section below."""
    # of a warm start it is the place only
    sft_path: Annotated[WrittenPath, TRAIN_AND_EVALUATION] = ""
    """Folder of the SFT checkpoint: policy at version 0 and reference. Empty: `model.path`, or
    `runs/<name>-sft` where `tiny` is set."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    max_tokens: Positive = 2048
    """Prompt + given code + completion; also vLLM's context."""

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if bool(self.path) == (self.tiny is not None):
            seen = "both" if self.path else "neither"
            raise ValueError(f"needs either path or [model.tiny], and has {seen}; give one")
        if self.tiny is not None and self.tiny.max_positions < self.max_tokens:
            raise ValueError(
                f"max_tokens = {self.max_tokens} is above tiny.max_positions = "
                f"{self.tiny.max_positions}; lower it"
            )
        return self
