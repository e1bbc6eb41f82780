"""What the ranks of a push say to each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed


def agree(word: str, world_size: int) -> str:
    """Return on every rank what rank 0 says. A collective."""
    if world_size == 1:
        return word
    box = [word]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def swapped(own: Any, world_size: int) -> list[Any]:
    """Return on every rank what each rank has, by rank. A collective."""
    if world_size == 1:
        return [own]
    box: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(box, own)
    return box
