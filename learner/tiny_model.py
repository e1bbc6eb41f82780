"""A small, randomly initialised Qwen2 on disk: what the demo and the tests train.

It goes through the same loaders as a real checkpoint: an ordinary Hugging Face folder.
"""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.config import TinyModel
from stepcoder_dist.text import tokenizer_files
from stepcoder_dist.text.tokenization import load_tokenizer


def create(
    tiny: TinyModel, tokenizer_folder: Path, out: Path, *, seed: int, dtype: str = "float32"
) -> None:
    """Write config.json, model.safetensors and the tokenizer's files to `out`.

    `tokenizer_folder` is a Hugging Face folder whose tokenizer has an end-of-sequence token.
    The head dimension (hidden_size / heads) has to be one that vLLM's CPU attention knows: 32,
    64, 80, 96, 112, 128.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from transformers.utils import logging

    tokenizer = load_tokenizer(tokenizer_folder)
    config = Qwen2Config(
        vocab_size=tokenizer.backend.get_vocab_size(),
        hidden_size=tiny.hidden_size,
        intermediate_size=tiny.intermediate_size,
        num_hidden_layers=tiny.layers,
        num_attention_heads=tiny.heads,
        num_key_value_heads=tiny.kv_heads,
        max_position_embeddings=tiny.max_positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config).to(getattr(torch, dtype))
    logging.disable_progress_bar()
    model.save_pretrained(str(out))
    if out != tokenizer_folder:
        tokenizer_files.copy(str(tokenizer_folder), out)
