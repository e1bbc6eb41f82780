"""A copy of a state in the host's memory, which later steps do not change."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def of(state: Any) -> Any:
    """Return a deep copy of a state whose tensors are on the CPU.

    Tensors that share memory share it in the copy too: both make files of one size. The copy takes
    as much memory as the file will. Attributes that somebody has set on a tensor are left out.
    """
    memory: dict[int, Any] = {}
    # what copy.deepcopy takes instead of copying a tensor on its device
    copies: dict[int, Any] = {}
    for tensor in _tensors(state):
        storage: Any = tensor.untyped_storage()
        if storage.data_ptr() not in memory:
            on_cpu = storage.device.type == "cpu"
            memory[storage.data_ptr()] = storage.clone() if on_cpu else storage.cpu()
        place = (tensor.storage_offset(), tensor.size(), tensor.stride())
        copied = torch.empty(0, dtype=tensor.dtype)
        copied.set_(memory[storage.data_ptr()], *place)
        copies[id(tensor)] = copied.requires_grad_(tensor.requires_grad)
    return copy.deepcopy(state, copies)


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _tensors(value)
