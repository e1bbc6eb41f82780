"""What `--dry-run` prints after the resolved config: files, memory and seconds.

Every line is a TOML comment, so that the complete output is a run file again.
"""

from __future__ import annotations

from stepcoder_dist import methods
from stepcoder_dist.config import RunConfig
from stepcoder_dist.doctor import gpu_memory, memory_fit, model_shape, step_time
from stepcoder_dist.doctor.gpu_memory import GIB, gib
from stepcoder_dist.doctor.model_shape import KnownShape
from stepcoder_dist.host import model_source
from stepcoder_dist.problems import ladder
from stepcoder_dist.problems.source import find, on_hub
from stepcoder_dist.run.run_file import describe


def report(config: RunConfig) -> str:
    """Return the resolved tree, derived sizes, the method, the files that are read, and memory."""
    method = methods.in_words(config.method, config.choices)
    sections = {
        "method": [method],
        "files": files(config),
        "memory, estimated (docs/gpu.md)": memory(config),
        "seconds of a step, estimated (docs/gpu.md)": seconds(config),
    }
    commented = [
        line
        for title, lines in sections.items()
        for line in (f"#\n# {title}", *(f"#   {text}" for text in lines))
    ]
    return "\n".join([describe(config), *commented])


def files(config: RunConfig) -> list[str]:
    """Return a line for each file or folder that a run reads first."""
    sets = [f"{key}: {_problem_file(spec)}" for key, spec in config.problems.named.items()]
    return [*sets, _model(config)]


def _problem_file(spec: str) -> str:
    if spec.startswith(ladder.PREFIX):
        next(ladder.from_spec(spec))  # one that makes no problem is refused here
        return f"{spec} (shipped)"
    if on_hub(spec):
        return f"{spec}: on the hub; downloaded when a run starts"
    path = find(spec).path
    if path.is_dir():
        return f"{spec}: a folder"
    if path.is_file():
        return f"{spec}: {path.stat().st_size:,} bytes"
    return f"{spec}: ABSENT; a run will be refused until it is there"


def _model(config: RunConfig) -> str:
    model = config.model
    start = model.sft_path or model.path
    if model.tiny is not None:
        there = model_source.holds_model(config.sft_folder)
        state = "present" if there else "absent; `stepcoder sft` or `stepcoder demo` makes it"
        return f"SFT checkpoint: {config.sft_folder}: {state}"
    if model_shape.config_json(start) is not None:
        return f"model: {start}: on this machine"
    if model_source.find(start).folder is not None:
        return f"model: {start}: ABSENT; `stepcoder sft` makes it, or fix model.path"
    return f"model: {start}: not on this machine; a hub name, downloaded when a run starts"


def memory(config: RunConfig) -> list[str]:
    """Return the estimate, and whether it fits `gpu_memory_gib`."""
    known = model_shape.find(config.model, (config.sft_folder,))
    if known is None:
        where = f"config.json of {config.model.path} nor [model.shape]"
        return [f"unknown: neither {where} has the model's dimensions"]
    lines = [_model_line(known)]
    if known.warning:
        lines.append(f"warning: {known.warning}")
    lines += [_rank_line(config, known), _sft_line(config, known), _actor_line(config, known)]
    gpus = config.actors.resources.num_gpus or config.learner.resources.num_gpus
    if not gpus:
        total = gib(memory_fit.host_bytes(config, known.shape))
        return [*lines, f"no GPU is asked for; all processes on one machine: up to {total} of RAM"]
    if config.gpu_memory_gib is None:
        return [*lines, "gpu_memory_gib is not set: not compared with a GPU"]
    return lines + _against(config, known, config.gpu_memory_gib)


def seconds(config: RunConfig) -> list[str]:
    """Return the estimate of a step on GPUs."""
    if not (config.actors.resources.num_gpus and config.learner.resources.num_gpus):
        return ["not estimated: not all of the run is on GPUs"]
    known = model_shape.find(config.model, (config.sft_folder,))
    if known is None:
        return ["unknown: so are the model's dimensions"]
    return step_time.lines(config, known.shape)


def _model_line(known: KnownShape) -> str:
    count = model_shape.parameters(known.shape)
    return f"model: {count:,} parameters ({known.source})"


def _rank_line(config: RunConfig, known: KnownShape) -> str:
    rank = gpu_memory.rank_memory(config, known.shape)
    kept = f" + buffers {gib(rank.kept_buffers)}" if rank.kept_buffers else ""
    host = f"; {gib(rank.host_optimizer)} of RAM" if rank.host_optimizer else ""
    if rank.away:
        host += f"; {gib(rank.away)} of RAM while the actor samples"
    return (
        f"learner rank: {gib(rank.stays)} stay (parameters {gib(rank.parameters)} + optimiser "
        f"{gib(rank.optimizer)}{kept}), {gib(rank.peak)} while it steps (gradients "
        f"{gib(rank.gradients)}, activations {gib(rank.activations)}, logits {gib(rank.logits)}, "
        f"working buffers {gib(rank.working)}){_with_process(config, rank.peak)}{host}"
    )


def _with_process(config: RunConfig, tensors: int) -> str:
    """Without a GPU the tensors are in the same memory as the process: what `top` shows of it."""
    if config.learner.resources.num_gpus:
        return ""
    return f", {gib(tensors + memory_fit.PROCESS_BYTES)} with its process"


def _sft_line(config: RunConfig, known: KnownShape) -> str:
    rank = gpu_memory.sft_memory(config, known.shape)
    rows = "packed rows" if config.sft.packing else "padded rows"
    return (
        f"a rank of `stepcoder sft`: {gib(rank.peak)} while it steps "
        f"(activations {gib(rank.activations)}, {rows}){_with_process(config, rank.peak)}"
    )


def _actor_line(config: RunConfig, known: KnownShape) -> str:
    actor = gpu_memory.actor_memory(config, known.shape)
    per_gpu = " a GPU" if config.actors.tensor_parallel > 1 else ""
    return (
        f"rollout actor: weights {gib(actor.weights)}{per_gpu}, KV cache "
        f"{actor.kv_per_token / 1024:.0f} KiB a token; the rest of its share is cache"
    )


def _against(config: RunConfig, known: KnownShape, gpu_gib: float) -> list[str]:
    rank = gpu_memory.rank_memory(config, known.shape)
    actor = gpu_memory.actor_memory(config, known.shape)
    tokens = max(gpu_memory.kv_tokens(config, actor, gpu_gib * GIB), 0)
    share = config.actors.gpu_memory_share * gpu_gib * GIB
    context, asleep = gpu_memory.CONTEXT_BYTES, gpu_memory.ASLEEP_BYTES
    cache = f"{tokens:,} tokens = {tokens // config.model.max_tokens} full sequences"
    lines = [
        f"a GPU of {gpu_gib:g} GiB: an actor's share is {gib(share)}, with a cache of about {cache}"
    ]
    if config.colocate:
        lines.append(
            f"shared GPU: {gib(rank.peak + context + asleep)} while the learner steps and vLLM "
            f"sleeps, {gib(rank.stays + share + 2 * context)} while it samples"
        )
    complaints = memory_fit.complaints(config, known.shape, gpu_gib)
    return lines + ([f"DOES NOT FIT: {text}" for text in complaints] or ["fits"])
