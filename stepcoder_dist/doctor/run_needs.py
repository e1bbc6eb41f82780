"""The needs of a run file that can be checked without starting anything: files, model, sizes."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.config import RunConfig
from stepcoder_dist.doctor import memory_fit, model_shape, network_sizes
from stepcoder_dist.doctor.examination import Finding, Mark
from stepcoder_dist.doctor.gpu_memory import GIB
from stepcoder_dist.errors import UserError
from stepcoder_dist.host import model_source
from stepcoder_dist.problems import load


def findings(config: RunConfig, run_file: Path) -> list[Finding]:
    """Return findings about the problem sets and the model."""
    sets = [_problem_set(key, spec, config) for key, spec in config.problems.named.items()]
    return [*sets, _model(config, run_file)]


def _problem_set(key: str, spec: str, config: RunConfig) -> Finding:
    try:
        first = load(spec, max_bad_share=config.problems.max_bad_share, limit=1)
    except (UserError, OSError) as error:
        seen, _, fix = str(error).partition("; ")
        return Finding(key, Mark.FAILS, seen, fix)
    names = [problem.problem_id for problem in first]
    return Finding(key, Mark.WORKS, f"{spec}: readable, from {names[0] if names else 'nothing'} on")


def _model(config: RunConfig, run_file: Path) -> Finding:
    sft = f"stepcoder sft {run_file}"
    if config.model.path:
        try:
            base = model_source.find(config.model.path).checked("fix model.path").text
        except UserError as error:
            seen, _, fix = str(error).partition("; ")
            return Finding("model", Mark.FAILS, seen, fix)
        if model_shape.config_json(base) is None:
            seen = f"{base} is not on this machine: downloaded when a run starts"
            return Finding("model", Mark.CAUTION, seen, f"hf download {base}")
    if config.sft_folder == config.model.path:
        return Finding("model", Mark.WORKS, config.model.path)
    try:
        model_source.find(config.sft_folder).checked()
    except UserError:
        return Finding("model", Mark.CAUTION, f"no SFT checkpoint yet at {config.sft_folder}", sft)
    return Finding("model", Mark.WORKS, f"SFT checkpoint at {config.sft_folder}")


def host_bytes(config: RunConfig) -> float:
    """Return the memory of one machine that runs everything, in bytes.

    0 where the model's size is unknown.
    """
    known = model_shape.find(config.model, (config.sft_folder,))
    return float(memory_fit.host_bytes(config, known.shape)) if known else 0.0


def checkpoint_bytes(config: RunConfig) -> float:
    """Return the disk space of one checkpoint, in bytes: networks and Adam's states.

    1 GiB where unknown.
    """
    known = model_shape.find(config.model, (config.sft_folder,))
    if known is None:
        return float(GIB)
    trained = sum(size.trained for size in network_sizes.networks(config, known.shape))
    return float((2 if config.model.dtype == "bfloat16" else 4) + 12) * trained


def shared_bytes(config: RunConfig) -> float:
    """Return the shared memory of a push, in bytes.

    The policy, where it goes through the object store.

    Where rollouts run ahead, the version that the actors hold stays there for new ones, besides
    those on their way. Two buckets where the size of the policy is unknown.
    """
    buckets = 2.0 * config.weights.bucket_mib * 2**20
    known = model_shape.find(config.model, (config.sft_folder,))
    if known is None or config.weights.transport != "object_store":
        return buckets
    ahead = config.train.max_staleness
    snapshots = 1 + (ahead if config.lags else min(ahead, 1))
    return float(snapshots * model_shape.bytes_each(config) * model_shape.parameters(known.shape))
