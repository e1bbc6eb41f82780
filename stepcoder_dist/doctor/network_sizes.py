"""Parameters of the networks that a learner rank trains, and how many of them change.

All do, or with `learner.lora` the adapters: rank · (in + out) for each layer that has one, and the
critic's value head.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_dist.config import LoraConfig, ModelShape, RunConfig
from stepcoder_dist.doctor import model_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSize:
    """Parameters of one network."""

    held: int
    trained: int


def policy(config: RunConfig, shape: ModelShape) -> NetworkSize:
    """Return the size of the policy."""
    return _size(config, shape, model_shape.parameters(shape), outside=0)


def networks(config: RunConfig, shape: ModelShape) -> tuple[NetworkSize, ...]:
    """Return the sizes of the policy and, where there is one, of the critic."""
    if not config.learner.has_critic:
        return (policy(config, shape),)
    head = shape.hidden_size + 1
    critic = _size(config, shape, model_shape.critic_parameters(shape), outside=head)
    return (policy(config, shape), critic)


def reference(config: RunConfig, shape: ModelShape) -> int:
    """Return the reference's own parameters: none where it is the policy without its adapters."""
    own = config.learner.has_reference and config.learner.lora is None
    return model_shape.parameters(shape) if own else 0


def largest_adapted(shape: ModelShape) -> int:
    """Return the elements of the largest weight that an adapter may be merged into."""
    return shape.hidden_size * max(shape.intermediate_size, model_shape.query_size(shape))


def adapter_ranks(lora: LoraConfig, shape: ModelShape) -> int:
    """Return the ranks of a layer's adapters, added up: what they keep of a token."""
    return lora.rank * len(_adapted(lora, shape))


def _size(config: RunConfig, shape: ModelShape, plain: int, *, outside: int) -> NetworkSize:
    """`outside`: trained in any case."""
    lora = config.learner.lora
    if lora is None:
        return NetworkSize(held=plain, trained=plain)
    widths = _adapted(lora, shape)
    adapters = shape.layers * lora.rank * sum(into + out for into, out in widths)
    return NetworkSize(held=plain + adapters, trained=adapters + outside)


def _adapted(lora: LoraConfig, shape: ModelShape) -> list[tuple[int, int]]:
    """In and out of a layer's adapted weights. A target that names one layer counts in all."""
    hidden, wide = shape.hidden_size, shape.intermediate_size
    query, key = model_shape.query_size(shape), model_shape.key_size(shape)
    layers = {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key),
        "v_proj": (hidden, key),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, wide),
        "up_proj": (hidden, wide),
        "down_proj": (wide, hidden),
    }
    wanted = {target.rpartition(".")[2] for target in lora.targets} or layers.keys()
    return [widths for name, widths in layers.items() if name in wanted]
