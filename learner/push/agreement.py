"""What the ranks have to agree on, said by rank 0."""

from __future__ import annotations

import torch
import torch.distributed


def agree(word: str, world_size: int) -> str:
    """Return on every rank what rank 0 says. A collective."""
    if world_size == 1:
        return word
    box = [word]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
