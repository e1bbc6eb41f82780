"""The check whether a problem is too long for the model: statement and reference, as for SFT."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.config import PromptConfig
from stepcoder_dist.records import Problem
from stepcoder_dist.text.program import PromptWriter
from stepcoder_dist.text.tokenization import load_tokenizer


class ContextLength:
    """`reading.Fits` for the tokenizer of one checkpoint folder."""

    def __init__(self, tokenizer: Path, max_tokens: int) -> None:
        """Raises `ConfigError` for a folder without a tokenizer."""
        self._writer = PromptWriter(load_tokenizer(tokenizer), PromptConfig())
        self._max_tokens = max_tokens

    def __call__(self, problem: Problem) -> str | None:
        example = self._writer.example(problem)
        tokens = len(example.prompt_ids) + len(example.completion_ids)
        if tokens <= self._max_tokens:
            return None
        return f"{tokens} tokens, {self._max_tokens} at most"
