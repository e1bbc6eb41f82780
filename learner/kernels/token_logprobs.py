"""Log-probabilities of given tokens from hidden states, without keeping all logits.

For N tokens and a vocabulary of V the float32 logits of one micro-batch (8 x 1024 x 32,000) are
1 GiB, and autograd would hold them several times over. Here they exist a chunk at a time, in the
forward pass and again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from learner.kernels.products import Multiplies, Products

CHUNK_ELEMENTS = 2**24
"""Logits that exist at the same time on a CPU: 64 MiB in float32."""

SHARE_OF_GPU = 32
"""On a GPU the four float32 tensors of a chunk may take this part of its memory.

The smaller a chunk, the more often the output layer's gradient is read and written. With 150,000
tokens in the vocabulary, 110 rows a chunk cost a 7B model a tenth of a pass (an estimate).
"""
_COPIES = 4
"""Logits, log-softmax, its exponential and their product."""


class TokenLogProbs(Multiplies):
    """Replaces a model's `lm_head` and shares its parameters (names stay as they were).

    One module call covers all chunks: under ZeRO-3 every rank must gather the weight equally often,
    however many tokens its micro-batch has.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.weight = head.weight
        """[V, H]; the embedding's own parameter where the model ties them."""
        self.register_parameter("bias", head.bias)

    def forward(
        self, hidden: Tensor, token_ids: Tensor, temperatures: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log π(token) float32 [N] and the entropy in nats float32 [N] (not differentiable).

        `hidden` [N, H] holds the states that predict the tokens `token_ids` int64 [N]; logits are
        divided by `temperatures` float32 [N]. N may be 0: gradients are then zeros.
        """
        result: tuple[Tensor, Tensor] = _ChunkedLogProbs.apply(  # type: ignore[no-untyped-call]
            hidden, self.weight, self.bias, token_ids, temperatures, self.products
        )
        return result


class _ChunkedLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        token_ids: Tensor,
        temperatures: Tensor,
        products: Products,
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(logprobs)
        for chunk in _chunks(hidden, len(weight)):
            logits = _logits(products, hidden[chunk], weight, bias, temperatures[chunk])
            log_softmax = torch.log_softmax(logits, dim=-1)
            logprobs[chunk] = log_softmax.gather(1, token_ids[chunk, None]).squeeze(1)
            entropy[chunk] = -(log_softmax.exp() * log_softmax).sum(dim=-1)
        ctx.save_for_backward(hidden, weight, bias, token_ids, temperatures)
        ctx.products = products
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, token_ids, temperatures = ctx.saved_tensors
        grad_logprobs = grads[0]
        products: Products = ctx.products
        grad_hidden = torch.empty_like(hidden)
        # a frozen head (learner.lora) needs neither the product nor its float32 sum
        trained = ctx.needs_input_grad[1]
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if trained else None
        grad_bias = None
        if bias is not None and ctx.needs_input_grad[2]:
            grad_bias = torch.zeros_like(bias, dtype=torch.float32)
        for chunk in _chunks(hidden, len(weight)):
            logits = _logits(products, hidden[chunk], weight, bias, temperatures[chunk])
            # d log p(a) / d logits = (onehot(a) - p) / T
            grad = torch.softmax(logits, dim=-1).neg_()
            grad.scatter_add_(1, token_ids[chunk, None], torch.ones_like(grad[:, :1]))
            grad *= (grad_logprobs[chunk] / temperatures[chunk])[:, None]
            if grad_bias is not None:
                grad_bias += grad.sum(dim=0)
            grad = grad.to(weight.dtype)
            grad_hidden[chunk] = products.product(grad, weight).to(hidden.dtype)
            if grad_weight is not None:
                grad_weight += products.product(grad.T, hidden[chunk].to(weight.dtype))
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
        )


def _logits(
    products: Products, hidden: Tensor, weight: Tensor, bias: Tensor | None, temperatures: Tensor
) -> Tensor:
    # the product in the model's own dtype, everything after it in float32: as vLLM does
    logits = products.linear(hidden.to(weight.dtype), weight, bias).float()
    return logits.div_(temperatures[:, None])


def chunk_elements(device: torch.device) -> int:
    """Return how many logits may exist at the same time: by the device, so that runs repeat."""
    if device.type != "cuda":
        return CHUNK_ELEMENTS
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(CHUNK_ELEMENTS, memory // SHARE_OF_GPU // (_COPIES * 4))


def _chunks(hidden: Tensor, columns: int) -> list[slice]:
    rows, size = len(hidden), max(1, chunk_elements(hidden.device) // columns)
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
