"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) in place of a model's linear layers.

    y = W x + b + alpha/rank · B A x        W, b frozen; A [rank, in], B [out, rank] trained

B is 0 at first, so that the model starts as it was loaded. `W` and `b` keep their names, so a push
and an export find them where a model without adapters has them; `merged` is what they send for `W`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from learner.kernels.products import Multiplies
from stepcoder_dist.config import LoraConfig
from stepcoder_dist.errors import ConfigError


class LoraLinear(Multiplies):
    """A frozen linear layer with an adapter that is trained."""

    def __init__(self, linear: nn.Linear, lora: LoraConfig, seed: int) -> None:
        super().__init__()
        self.weight = linear.weight
        """[out, in], the layer's own."""
        self.bias: nn.Parameter | None
        self.register_parameter("bias", linear.bias)
        out, width = linear.weight.shape
        self.scale = lora.alpha / lora.rank
        self.dropout = lora.dropout
        self.adapting = True
        """False: the layer answers as it was loaded."""
        drawn = torch.empty(lora.rank, width)
        bound = 1 / math.sqrt(width)
        drawn.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
        dtype = linear.weight.dtype
        self.lora_a = nn.Parameter(drawn.to(dtype))
        self.lora_b = nn.Parameter(torch.zeros(out, lora.rank, dtype=dtype))

    def forward(self, states: Tensor) -> Tensor:
        """Return the layer's answer, [..., in] -> [..., out]."""
        linear = self.products.linear
        answer = linear(states, self.weight, self.bias)
        if not self.adapting:
            return answer
        # passes without gradient ask what the policy is, not what a dropped-out part of it is
        if self.dropout and torch.is_grad_enabled():
            states = nn.functional.dropout(states, self.dropout)
        inner = linear(states, self.lora_a, None)
        return answer + linear(inner, self.lora_b, None) * self.scale

    def merged(self) -> Tensor:
        """Return W + alpha/rank · B A, [out, in], computed in float32 and rounded once.

        Under ZeRO-3 call it where `parameters()` are gathered.
        """
        weight, a, b = (t.detach().float() for t in (self.weight, self.lora_a, self.lora_b))
        return torch.addmm(weight, b, a, alpha=self.scale).to(self.weight.dtype)


def adapt(network: Any, lora: LoraConfig, folder: str, seed: int) -> None:
    """Freeze the network and give the linear layers that `lora.targets` names an adapter.

    `network` is a Hugging Face model. All ranks draw the same adapters from `seed`. Raises
    `ConfigError` for a target that is no linear layer, or the output layer.
    """
    network.requires_grad_(requires_grad=False)
    for name in _chosen(network, lora, folder):
        above, _, own = name.rpartition(".")
        parent = network.get_submodule(above)
        linear = getattr(parent, own)
        setattr(parent, own, LoraLinear(linear, lora, zlib.crc32(f"{seed} {name}".encode())))


def adapters(module: nn.Module) -> dict[str, LoraLinear]:
    """Return the layers with an adapter, by name."""
    return {n: part for n, part in module.named_modules() if isinstance(part, LoraLinear)}


@contextmanager
def adapters_off(module: nn.Module) -> Iterator[None]:
    """Let the module answer as it was loaded, inside the block."""
    layers = adapters(module).values()
    for layer in layers:
        layer.adapting = False
    try:
        yield
    finally:
        for layer in layers:
            layer.adapting = True


def _chosen(network: Any, lora: LoraConfig, folder: str) -> list[str]:
    """Return the names of the layers that get an adapter, in the module's order."""
    linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    for target in lora.targets:
        if any(_matches(name, target) for name in linear):
            continue
        others = (name for name, _ in network.named_modules() if _matches(name, target))
        found = next(others, "")
        if not found:
            why = "matches no layer"
        elif network.get_submodule(found) in _ends(network):
            why = f"is {found}, which stays as it is: output layer and embedding may be tied"
        else:
            why = f"is {found}, a {type(network.get_submodule(found)).__name__}"
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise ConfigError(
            f'learner.lora.targets: "{target}" {why} in model {folder}; its linear layers are '
            f"{', '.join(known) or 'none'}"
        )
    if not linear:
        raise ConfigError(f"model {folder} has no linear layer for learner.lora; leave it out")
    wanted = lora.targets
    return [n for n in linear if not wanted or any(_matches(n, target) for target in wanted)]


def _matches(name: str, target: str) -> bool:
    """Return whether one of both is the other, or its last parts.

    A critic lacks the name's first.
    """
    return name == target or name.endswith(f".{target}") or target.endswith(f".{name}")


def _ends(network: Any) -> list[Any]:
    return [network.get_input_embeddings(), network.get_output_embeddings()]
