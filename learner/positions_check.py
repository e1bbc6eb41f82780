"""Whether a sample's rotary angles depend on the longest sample of its row.

transformers chooses the angles of `longrope` and `dynamic` by the largest position in a row, once
that is beyond what the model was first trained on. A short sample would so have other log-probs in
a row with a long one than alone, and others than vLLM gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepcoder_dist.errors import ConfigError


def refuse_angles_of_a_row(config: Any, folder: str, max_tokens: int) -> None:
    """Raise `ConfigError` for a Hugging Face config with which that can happen.

    `max_tokens`: of the longest sample (`model.max_tokens`).
    """
    rope = getattr(config, "rope_parameters", None) or {}
    by_layer = [each for each in rope.values() if isinstance(each, Mapping)]
    for table in by_layer or [rope]:
        kind = table.get("rope_type")
        if kind == "longrope":
            bound = table.get("original_max_position_embeddings")
        elif kind == "dynamic":
            bound = config.max_position_embeddings
        else:
            continue
        if bound is not None and max_tokens > bound:
            raise ConfigError(
                f'model {folder}: with rope_type = "{kind}" a sample\'s log-probs depend on the '
                f"longest one of its row, beyond {bound} tokens; lower model.max_tokens = "
                f"{max_tokens} to {bound}"
            )
