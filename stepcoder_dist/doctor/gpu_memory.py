"""An estimate of the memory of each process of a run, from the model's dimensions.

Ψ parameters, e bytes each (2 in bfloat16), N learner ranks.

*Model states* (ZeRO: Rajbhandari et al. 2019, arXiv 1910.02054, section 3.1 and figure 1):
parameters eΨ, gradients 4Ψ, Adam KΨ; stage 1 divides Adam by N, stage 2 the gradients too, stage 3
the parameters too. K = 12 (a float32 copy and two moments), also in float32 from stage 1 on, where
DeepSpeed keeps the copy all the same; 8 at stage 0 in float32. Gradients are summed in float32
(`learner/zero/deepspeed_config.py`); in bfloat16 stage 0 is stage 1 there, which keeps eΨ for a
micro-batch's gradients too. Policy and critic (where `learner.advantage` has one) are trained; the
reference, where the KL has a weight, has parameters only. With `learner.lora` parameters are held
that are not trained, and the reference is the policy (`network_sizes.py`). What DeepSpeed adds is
in `_working`.

*Activations* (Korthikanti et al. 2022, arXiv 2205.05198, section 4) of this learner's models: fused
attention (their selective recomputation: no s × s term), no dropout, gated MLP, norms that compute
in float32. Per token and layer, with hidden size h, queries q, keys k, MLP width f:
    2(4 + 2e)h + 2e·q + 2e·k + 4e·f
and (4 + 2e)h once for the last norm; with gradient checkpointing e·h for each layer and all of one
layer (their full recomputation). A pass without gradient holds one layer. A packed row adds its
answers, and a copy of each prompt's keys and values for every completion: `_packed_layer`,
learner/batches/packed_attention.py.

*KV cache*: 2 · layers · k · e bytes a token.

What is assumed, not derived, is in capitals. The tests compare the estimate with hand-made figures,
and with DeepSpeed's and autograd's tensors on the CPU; it was never yet compared with a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import model_shape, network_sizes
from stepcoder_dist.doctor.network_sizes import NetworkSize

GIB = 2**30
CONTEXT_BYTES = int(0.7 * GIB)
"""Assumed: CUDA's context and libraries, for each process on a GPU."""
ASLEEP_BYTES = 1 * GIB
"""Assumed: what a sleeping vLLM keeps on its GPU, CUDA graphs most of all, with its context."""
VLLM_WORKING_BYTES = int(1.5 * GIB)
"""Assumed: vLLM's own activations inside its share. It measures them when it starts."""

_LARGEST_BUCKET = 200_000_000
"""Elements of a communication bucket: `learner/zero/deepspeed_config.py`."""
_LIVE_PARAMETERS = 1_000_000_000
"""Elements that DeepSpeed keeps gathered at stage 3 (`stage3_max_live_parameters`)."""
_LOGIT_BYTES = 4 * 4 * 2**24
"""Four float32 tensors of a chunk of logits: `learner/kernels/token_logprobs.py`."""
_LOGIT_SHARE = 32
"""The part of a GPU that they take, if that is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankMemory:
    """Bytes of one learner rank on its device."""

    parameters: int
    """Parameters of policy, critic where there is one, and reference."""
    optimizer: int
    kept_buffers: int
    """Buffers that DeepSpeed allocates once: at stage 3 gradients and a bucket, at stage 1 in
    bfloat16 gradients."""
    gradients: int
    """Gradients, during a step."""
    working: int
    """Buckets, gathered parameters, or the update's float32 gradients, during a step."""
    activations: int
    """Activations of one micro-batch of one network."""
    logits: int
    host_optimizer: int
    """Adam's states in the host's memory, with `offload_optimizer`."""
    away: int
    """Bytes that are on the host from a step's end to the next, with `offload_while_sampling`."""

    @property
    def stays(self) -> int:
        """Bytes held on the device between two steps."""
        return self.parameters + self.optimizer + self.kept_buffers - self.away

    @property
    def peak(self) -> int:
        """Bytes held at the peak of a step."""
        returned = self.stays + self.away
        return returned + self.gradients + self.working + self.activations + self.logits


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorMemory:
    """Bytes of one engine on one of its GPUs."""

    weights: int
    kv_per_token: int
    smallest: int
    """Weights, working memory and the cache of one sequence of `model.max_tokens`."""


def rank_memory(config: RunConfig, shape: ModelShape) -> RankMemory:
    """Return the memory of one of `learner.ranks`, on a GPU or on the CPU."""
    tokens = row_tokens(config, config.learner.microbatch_tokens)
    training = activation_bytes(config, shape)
    if config.learner.packing:
        layers = 1 if config.learner.gradient_checkpointing else shape.layers
        training += layers * tokens * _packed_layer(config, shape)
    asked = row_tokens(config, config.learner.tokens_without_gradient)
    hidden = model_shape.bytes_each(config) * shape.hidden_size
    asking = asked * (_layer(config, shape) + 2 * hidden)
    activations = max(training, asking)
    return _rank_memory(
        config,
        shape,
        network_sizes.networks(config, shape),
        frozen=network_sizes.reference(config, shape),
        activations=activations,
        moves=config.learner.offload_while_sampling,
    )


def row_tokens(config: RunConfig, budget: int) -> int:
    """Return the most tokens of one of RL's passes with that budget."""
    longest, samples = config.model.max_tokens, config.learner.microbatch_samples
    tokens = max(budget, longest)
    return min(tokens, samples * longest) if samples else tokens


def sft_memory(config: RunConfig, shape: ModelShape) -> RankMemory:
    """Return the memory of one of `learner.ranks` in `stepcoder sft`: no critic, no reference.

    A packed row has at most as many tokens as a padded micro-batch. Its attention is computed piece
    by piece, so that each layer keeps its queries' size once more.
    """
    tokens = config.sft.microbatch_samples * config.model.max_tokens
    activations = activation_bytes(config, shape, tokens=tokens)
    if config.sft.packing:
        layers = 1 if config.learner.gradient_checkpointing else shape.layers
        activations += (
            tokens * layers * model_shape.bytes_each(config) * model_shape.query_size(shape)
        )
    trained = (network_sizes.policy(config, shape),)
    # a warm start has no actor to leave room to
    return _rank_memory(config, shape, trained, frozen=0, activations=activations, moves=False)


def _rank_memory(
    config: RunConfig,
    shape: ModelShape,
    networks: tuple[NetworkSize, ...],
    *,
    frozen: int,
    activations: int,
    moves: bool,
) -> RankMemory:
    """`networks`: those that are trained, the largest first."""
    learner = config.learner
    stage, ranks, size = zero_stage(config), learner.ranks, model_shape.bytes_each(config)
    trained = sum(network.trained for network in networks)
    held = sum(network.held for network in networks) + frozen
    adam = 12 if stage > 0 else 8
    optimizer = adam * trained // (ranks if stage > 0 else 1)
    # `offload_optimizer` is for ZeRO on GPUs; elsewhere it changes nothing
    offloaded = learner.offload_optimizer and stage > 0 and learner.resources.num_gpus > 0
    sharded = stage == 3  # noqa: PLR2004 (ZeRO's)
    updated = tuple(network.trained for network in networks)
    kept, gradients = _gradient_bytes(stage, ranks, size, updated)
    resident = 0 if offloaded else optimizer
    return RankMemory(
        parameters=size * held // (ranks if sharded else 1),
        optimizer=resident,
        kept_buffers=kept,
        gradients=gradients,
        working=_working(config, networks[0]),
        activations=activations,
        logits=_logit_bytes(config, shape),
        host_optimizer=optimizer if offloaded else 0,
        # at stage 1 and 2 buffers do not move
        away=(resident + (kept if sharded else 0)) if moves else 0,
    )


def _gradient_bytes(
    stage: int, ranks: int, size: int, networks: tuple[int, ...]
) -> tuple[int, int]:
    """Return what gradients take always, and what more they take during a step."""
    trained = sum(networks)
    if stage == 3:  # noqa: PLR2004 (ZeRO's)
        buckets = sum(4 * min(network, _LARGEST_BUCKET) for network in networks)
        return 4 * trained // ranks + buckets, 0
    if stage == 2:  # noqa: PLR2004 (ZeRO's)
        return 0, 4 * trained // ranks
    if stage == 1 and size == 2:  # noqa: PLR2004 (bytes)
        return 4 * trained, size * trained
    return 0, 4 * trained + (4 * trained // ranks if stage == 1 else 0)


def zero_stage(config: RunConfig) -> int:
    """Return the stage that DeepSpeed is given: `learner/zero/deepspeed_config.py`."""
    stage = config.learner.zero_stage
    return max(stage, 1) if config.model.dtype == "bfloat16" else stage


def _working(config: RunConfig, policy: NetworkSize) -> int:
    """Return the largest size of DeepSpeed's temporary buffers around the larger network."""
    stage, ranks, size = zero_stage(config), config.learner.ranks, model_shape.bytes_each(config)
    if stage == 0:
        return 0
    # a bucket in the model's dtype, and in float32 for its way over the ranks
    bucket = (size + (4 if size == 2 else 0)) * min(policy.trained, _LARGEST_BUCKET)  # noqa: PLR2004 (bytes)
    update = 4 * policy.trained // ranks  # gradients in float32 while Adam runs
    if stage == 3:  # noqa: PLR2004 (ZeRO's)
        return max(size * min(policy.held, _LIVE_PARAMETERS), update)
    return max(bucket, update)


def activation_bytes(config: RunConfig, shape: ModelShape, *, tokens: int | None = None) -> int:
    """Return the bytes saved for the backward pass of one micro-batch without what packing adds.

    `tokens`: those of the micro-batch; None: RL's.
    """
    size = model_shape.bytes_each(config)
    tokens = tokens or row_tokens(config, config.learner.microbatch_tokens)
    hidden = shape.hidden_size
    norm = (4 + 2 * size) * hidden
    layer = _layer(config, shape)
    if config.learner.gradient_checkpointing:
        return tokens * (size * hidden * shape.layers + layer + norm)
    return tokens * (layer * shape.layers + norm)


def _layer(config: RunConfig, shape: ModelShape) -> int:
    """Return the bytes of one layer for a token."""
    size, hidden = model_shape.bytes_each(config), shape.hidden_size
    lora = config.learner.lora
    return (
        2 * (4 + 2 * size) * hidden
        + 2 * size * (model_shape.query_size(shape) + model_shape.key_size(shape))
        + 4 * size * shape.intermediate_size
        + (size * network_sizes.adapter_ranks(lora, shape) if lora else 0)
    )


def _packed_layer(config: RunConfig, shape: ModelShape) -> int:
    """Return what packing adds to one layer, in bytes a token: its answer, copies of keys, values.

    The copies are those of rows full of groups at the length limits. On a CPU they have as many
    heads as the queries.
    """
    queries = model_shape.query_size(shape)
    copied = model_shape.key_size(shape) if config.learner.resources.num_gpus else queries
    new, group = config.sampling.max_new_tokens, config.sampling.samples_per_problem
    prompt = max(config.model.max_tokens - new, 1)
    copies = group * (prompt + new) / (prompt + group * new) if group > 1 else 0.0
    return model_shape.bytes_each(config) * (queries + int(2 * copies * copied))


def actor_memory(config: RunConfig, shape: ModelShape) -> ActorMemory:
    """Return the memory of one of `actors.tensor_parallel` GPUs of one engine."""
    size, parallel = model_shape.bytes_each(config), config.actors.tensor_parallel
    weights = size * model_shape.parameters(shape) // parallel
    # with fewer heads than GPUs, each GPU still holds one
    key = model_shape.key_size(shape) // min(parallel, shape.kv_heads)
    per_token = 2 * shape.layers * key * size
    return ActorMemory(
        weights=weights,
        kv_per_token=per_token,
        smallest=weights + VLLM_WORKING_BYTES + per_token * config.model.max_tokens,
    )


def kv_tokens(config: RunConfig, actor: ActorMemory, gpu_bytes: float) -> int:
    """Return the tokens that an engine's cache holds in its share of a GPU of that size.

    May be negative.
    """
    room = config.actors.gpu_memory_share * gpu_bytes - actor.weights - VLLM_WORKING_BYTES
    return int(room // actor.kv_per_token)


def gib(count: float) -> str:
    """Return bytes as text for a reader: `1.5 GiB`."""
    return f"{count / GIB:.1f} GiB"


def _logit_bytes(config: RunConfig, shape: ModelShape) -> int:
    """Return the bytes of a chunk of float32 logits, and of the output layer's gradient in float32.

    Next to adapters the output layer is frozen.
    """
    on_gpu = config.learner.resources.num_gpus > 0
    share = int((config.gpu_memory_gib or 0) * GIB) // _LOGIT_SHARE if on_gpu else 0
    gradient = 0 if config.learner.lora else 4 * shape.vocabulary * shape.hidden_size
    return max(_LOGIT_BYTES, share) + gradient
