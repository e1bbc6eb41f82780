"""Float32 matrix products on a CPU, by oneDNN instead of the library that torch was built with.

torch takes oneDNN for bfloat16 and MKL for float32. MKL uses AVX-512 on Intel's processors only: on
an AMD EPYC with AVX-512 oneDNN makes 200 to 250 GFLOP/s a core in the shapes of a 135M model, MKL
100 to 110. Sums are formed in another order, so the last bits differ (decision 0080).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """How a layer multiplies."""

    linear: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """x [..., in], weight [out, in], bias [out] -> x weight^T + bias [..., out], differentiable."""
    product: Callable[[Tensor, Tensor], Tensor]
    """[m, k], [k, n] -> [m, n], without a gradient."""


TORCH = Products(linear=nn.functional.linear, product=torch.matmul)


class Multiplies(nn.Module):
    """A layer of ours that multiplies by `products`."""

    products = TORCH


def install(network: nn.Module, device: torch.device) -> None:
    """Let the network's layers multiply by oneDNN, where it computes in float32 on a CPU.

    Without oneDNN in this build of torch, everything stays as it is.
    """
    weights = {parameter.dtype for parameter in network.parameters()}
    if device.type != "cpu" or weights != {torch.float32} or not _there():
        return
    for part in network.modules():
        if type(part) is nn.Linear:
            part.__class__ = _Linear
        elif isinstance(part, Multiplies):
            part.products = ONEDNN


class _Linear(nn.Linear):
    def forward(self, states: Tensor) -> Tensor:
        return _linear(states, self.weight, self.bias)


class _LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(states, weight)
        return _rows_times(states.reshape(-1, states.shape[-1]), weight, bias).view(
            *states.shape[:-1], len(weight)
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        grad = grads[0].reshape(-1, len(weight))
        of_states, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(grad, weight).view(states.shape) if of_states else None,
            _product(grad.t(), states.reshape(-1, states.shape[-1])) if of_weight else None,
            grad.sum(dim=0) if of_bias else None,
        )


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    result: Tensor = _LinearFunction.apply(states, weight, bias)  # type: ignore[no-untyped-call]
    return result


def _product(left: Tensor, right: Tensor) -> Tensor:
    return _rows_times(left, right.t(), None)


def _rows_times(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows [m, k] times weight [n, k] transposed, plus bias [n]."""
    if not rows.numel():  # of a rank without a sample: oneDNN refuses it
        return nn.functional.linear(rows, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 (torch's compiler calls it)
        rows, weight, bias, "none", [], ""
    )
    return result


def _there() -> bool:
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


ONEDNN = Products(linear=_linear, product=_product)
