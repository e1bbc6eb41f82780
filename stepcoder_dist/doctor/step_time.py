"""Seconds of one training step, on paper: what each pool does, which waits, what split is better.

Ψ parameters of a network, N ranks.

*Learner.* A forward pass of a token costs 2Ψ FLOP in matrix products (those with the output layer
for completion tokens only) and 4·layers·q for each token that it attends to (Kaplan et al. 2020,
arXiv 2001.08361, section 2.1); a backward pass twice that, a checkpointed one once more. With
`learner.packing` a prompt counts once for all of its samples. Passes: π_old, values and reference
once, where they are asked; policy and critic in training `epochs` times. Time: FLOP /
(N · tflops · mfu).

*ZeRO.* At stage 3 each micro-batch, full to its budget of tokens, gathers each network for each
pass (2Ψ bytes) and reduces its gradients; at stage 1 and 2 it reduces them once an update. A ring
moves (N−1)/N of it over a GPU's link, and (n−1)/n over the network of each of n nodes; the slower
of the two counts. Half of what could hide behind computation is taken to.

*Rollouts.* A decoding step reads the weights and the cache of its batch from memory; a sample takes
as many steps as it has tokens, the longest `sampling.max_new_tokens`, alone in the end.

*Judging* overlaps with sampling and counts where its containers are slower. *Push*: gather, send,
load. *Checkpoint*: 14 bytes a trained parameter, over `checkpoint_every`.

What is assumed is in capitals. Held against figures worked out by hand; never yet against a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from stepcoder_dist.config import ModelShape, RunConfig
from stepcoder_dist.doctor import gpu_memory, memory_fit, model_shape, network_sizes

GPUS: dict[str, tuple[float, float, float]] = {
    "A100-40GB": (312, 1555, 300),
    "A100-80GB": (312, 2039, 300),
    "H100": (989, 3350, 450),
    "H200": (989, 4800, 450),
    "B200": (2250, 8000, 900),
    "L40S": (362, 864, 32),
    "L4": (121, 300, 32),
    "A10G": (70, 600, 32),
    "RTX-4090": (165, 1008, 32),
}
"""Dense bfloat16 TFLOP/s, GB/s of memory, GB/s to the node's other GPUs: NVIDIA's data sheets, and
PCIe 4.0 x16 where a GPU has no NVLink."""
HIDDEN = 0.5
"""Assumed share of the traffic that hides behind computation."""
BANDWIDTH_REACHED = 0.7
"""Assumed share of the memory's bandwidth that decoding reaches."""
OBJECT_STORE_GB_S = 0.5
"""Assumed for a push over the object store: copies to the host and back, checksums."""
PUSH_FIXED_S = 2.0
"""Assumed: repacking the weights and comparing log-probs after a push."""
_LEAST_GAIN = 0.1
"""Of a step: the estimate is not finer than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What a GPU and its connections move in a second; G is 10⁹."""

    flops: float
    memory_bytes: float
    link_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of the phases of one step."""

    compute: float
    """The learner's passes."""
    traffic: float
    """ZeRO's, not hidden behind them."""
    rollout: float
    judge: float
    push: float
    checkpoint: float
    """Spread over the steps between two."""
    overlaps: bool
    """Rollouts and learner work at the same time (`train.max_staleness` above 0)."""

    @property
    def learning(self) -> float:
        """What keeps the learner's GPUs busy."""
        return self.compute + self.traffic + self.push + self.checkpoint

    @property
    def sampling(self) -> float:
        """From a step's first prompt to its last verdict."""
        return max(self.rollout, self.judge)

    @property
    def step(self) -> float:
        if self.overlaps:
            return max(self.learning, self.sampling)
        return self.learning + self.sampling


def gpu(config: RunConfig) -> Gpu | None:
    """Return the GPU of `[hardware]`; None where it does not say enough."""
    hardware = config.hardware
    sheet: tuple[float | None, ...] = GPUS[hardware.gpu] if hardware.gpu else (None, None, None)
    given = (hardware.tflops, hardware.memory_gb_s, hardware.link_gb_s)
    tflops, memory, link = (own or known for own, known in zip(given, sheet, strict=True))
    if tflops is None or memory is None or link is None:
        return None
    return Gpu(flops=tflops * 1e12, memory_bytes=memory * 1e9, link_bytes=link * 1e9)


def estimate(config: RunConfig, shape: ModelShape, device: Gpu) -> StepTime:
    """Return the phases of one step of this run file."""
    return StepTime(
        compute=_compute(config, shape, device),
        traffic=_traffic(config, shape, device),
        rollout=_rollout(config, shape, device),
        judge=_judge(config),
        push=_push(config, shape, device),
        checkpoint=_checkpoint(config, shape),
        overlaps=config.train.max_staleness > 0 and not config.colocate,
    )


def better_split(config: RunConfig, shape: ModelShape, device: Gpu) -> RunConfig | None:
    """Return the run with its GPUs divided otherwise, if that saves a tenth of a step and fits."""
    if config.colocate:
        return None
    parallel = config.actors.tensor_parallel
    total = config.learner.ranks + config.actors.number * parallel
    best, least = None, estimate(config, shape, device).step * (1 - _LEAST_GAIN)
    for engines in range(1, (total - 1) // parallel + 1):
        ranks = total - engines * parallel
        learner = config.learner.model_copy(update={"ranks": ranks})
        actors = config.actors.model_copy(update={"number": engines})
        other = config.model_copy(update={"learner": learner, "actors": actors})
        gib = config.gpu_memory_gib
        fits = gib is None or not memory_fit.complaints(other, shape, gib)
        seconds = estimate(other, shape, device).step
        if fits and seconds < least:
            best, least = other, seconds
    return best


def mean_tokens(config: RunConfig) -> tuple[int, int]:
    """Return a sample's prompt and completion tokens: of `[hardware]`, or half of the most."""
    most_new = config.sampling.max_new_tokens
    prompt = config.hardware.prompt_tokens or (config.model.max_tokens - most_new) // 2
    return prompt, config.hardware.completion_tokens or most_new // 2


def row_tokens(config: RunConfig, samples: int) -> int:
    """Return the tokens of the learner's rows for so many samples."""
    prompt, completion = mean_tokens(config)
    return _prompts(config, samples) * prompt + samples * completion


def _prompts(config: RunConfig, samples: int) -> int:
    shared = config.sampling.samples_per_problem if config.learner.packing else 1
    return -(-samples // shared)


def _rows(config: RunConfig, samples: int, budget: int) -> int:
    """Return the micro-batches of each rank for so many samples."""
    return -(-row_tokens(config, samples) // (config.learner.ranks * budget))


def _compute(config: RunConfig, shape: ModelShape, device: Gpu) -> float:
    prompt, completion = mean_tokens(config)
    samples = config.learner.samples_per_step
    answers = samples * completion
    head = shape.vocabulary * shape.hidden_size
    layers = model_shape.parameters(shape) - (1 if shape.tied_embeddings else 2) * head
    pairs = _prompts(config, samples) * prompt**2 / 2 + answers * (prompt + completion / 2)
    attention = 4 * shape.layers * model_shape.query_size(shape) * pairs
    forward = 2 * (layers * row_tokens(config, samples) + head * answers) + attention
    flops = forward * _forward_equivalents(config)
    return flops / (config.learner.ranks * device.flops * config.hardware.mfu)


def _forward_equivalents(config: RunConfig) -> int:
    """Return the forward passes that a step costs, a backward pass counting as two."""
    learner = config.learner
    trained = 2 if learner.has_critic else 1
    training = 4 if learner.gradient_checkpointing else 3
    if learner.lora is not None:
        training -= 1  # no gradients of frozen weights: half of a backward pass
    return _asked(config) + learner.epochs * trained * training


def _asked(config: RunConfig) -> int:
    """Return the networks that a step asks before its updates: π_old, reference, values."""
    learner = config.learner
    return (not learner.old_policy_in_training) + learner.has_reference + learner.has_critic


def _traffic(config: RunConfig, shape: ModelShape, device: Gpu) -> float:
    learner = config.learner
    if learner.ranks == 1:
        return 0.0
    each = model_shape.bytes_each(config)
    weights = each * model_shape.parameters(shape)
    gradients = each * network_sizes.policy(config, shape).trained
    trained = 2 if learner.has_critic else 1
    updates = learner.epochs * (learner.samples_per_step // learner.minibatch_samples)
    if learner.zero_stage == 3:  # noqa: PLR2004 (ZeRO's)
        # one gather each
        asked = _rows(config, learner.samples_per_step, learner.tokens_without_gradient)
        # forward, backward, gradients
        trains = updates * _rows(config, learner.minibatch_samples, learner.microbatch_tokens)
        moved = weights * _asked(config) * asked + (2 * weights + gradients) * trained * trains
    else:
        moved = gradients * 2 * trained * updates
    nodes = -(-learner.ranks // config.hardware.gpus_per_node)
    inside = moved * (learner.ranks - 1) / learner.ranks / device.link_bytes
    between = moved * (nodes - 1) / nodes / (config.hardware.network_gb_s * 1e9)
    slower = max(inside, between)
    return slower - HIDDEN * min(slower, _compute(config, shape, device))


def _rollout(config: RunConfig, shape: ModelShape, device: Gpu) -> float:
    prompt, completion = mean_tokens(config)
    actor = gpu_memory.actor_memory(config, shape)
    samples = config.learner.samples_per_step / config.actors.number
    batch = min(samples, config.actors.max_batch)
    if config.gpu_memory_gib is not None:
        room = gpu_memory.kv_tokens(config, actor, config.gpu_memory_gib * gpu_memory.GIB)
        batch = max(1.0, min(batch, room / (prompt + completion)))
    reads = device.memory_bytes * BANDWIDTH_REACHED
    weights = actor.weights / reads
    cache = batch * (prompt + completion / 2) * actor.kv_per_token / reads
    steps = samples / batch * completion
    tail = config.sampling.max_new_tokens - completion
    return steps * (weights + cache) + tail * weights


def _judge(config: RunConfig) -> float:
    containers = config.sandbox.number * config.sandbox.containers
    return config.learner.samples_per_step * config.hardware.judge_s / containers


def _push(config: RunConfig, shape: ModelShape, device: Gpu) -> float:
    size = model_shape.bytes_each(config) * model_shape.parameters(shape)
    if config.weights.transport == "object_store":
        return size / (OBJECT_STORE_GB_S * 1e9) + PUSH_FIXED_S
    if config.weights.transport == "ipc":  # gathered by the ranks, then copied within each GPU
        return size / device.link_bytes + 2 * size / device.memory_bytes + PUSH_FIXED_S
    apart = config.learner.ranks + config.actors.number > config.hardware.gpus_per_node
    between = config.hardware.network_gb_s * 1e9 if apart else device.link_bytes
    return size / device.link_bytes + size / min(between, device.link_bytes) + PUSH_FIXED_S


def _checkpoint(config: RunConfig, shape: ModelShape) -> float:
    every = config.train.checkpoint_every
    if not every:
        return 0.0
    trained = sum(network.trained for network in network_sizes.networks(config, shape))
    return (
        (model_shape.bytes_each(config) + 12) * trained / (config.hardware.disk_gb_s * 1e9) / every
    )


def lines(config: RunConfig, shape: ModelShape) -> list[str]:
    """For `--dry-run`: seconds by phase, who waits for whom, and a better split of the GPUs."""
    device = gpu(config)
    if device is None:
        return ["unknown: [hardware] names no gpu, nor tflops, memory_gb_s and link_gb_s"]
    time = estimate(config, shape, device)
    prompt, completion = mean_tokens(config)
    shown = [
        f"{config.learner.samples_per_step} samples of {prompt} + {completion} tokens, on paper",
        (
            f"learner {time.learning:.0f} s: passes {time.compute:.0f}, ZeRO traffic "
            f"{time.traffic:.0f}, push {time.push:.0f}, checkpoint {time.checkpoint:.0f}"
        ),
        f"rollouts {time.rollout:.0f} s, judging {time.judge:.0f} s at the same time",
        (
            f"step {time.step:.0f} s{'' if time.overlaps else ', one after the other'}; of it "
            f"the learner's GPUs idle {_idle(time.learning, time.step)}, the engines' "
            f"{_idle(time.rollout, time.step)}, the containers {_idle(time.judge, time.step)}"
        ),
    ]
    other = better_split(config, shape, device)
    if other is None:
        return [*shown, "no other split of these GPUs saves a tenth of a step"]
    saved = estimate(other, shape, device).step
    return [
        *shown,
        (
            f"better: learner.ranks = {other.learner.ranks} and "
            f"actors.number = {other.actors.number}: {saved:.0f} s a step"
        ),
    ]


def _idle(busy: float, step: float) -> str:
    return f"{1 - busy / step:.0%}"
