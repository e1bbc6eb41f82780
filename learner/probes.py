"""Probes of the learner: torch and its GPU, DeepSpeed, and vLLM's NCCL transport."""

from __future__ import annotations

import importlib

from stepcoder_dist.doctor.examination import Finding, Mark


def torch(*, on_gpu: bool) -> list[Finding]:
    """Torch computes; on a GPU where the learner has one."""
    torch = importlib.import_module("torch")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    total = float((torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).sum())
    seen = f"{torch.__version__} computes on {device}"
    if total != 64**3:
        return [Finding("torch", Mark.FAILS, f"{seen}, wrongly", "make setup (GPU=1)")]
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        count = torch.cuda.device_count()
        seen += f": {count} GPUs, compute {major}.{minor}, CUDA {torch.version.cuda}"
    elif on_gpu:
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        seen += f"; it is built {built} and sees no GPU"
        return [Finding("torch", Mark.FAILS, seen, "make setup GPU=1, with a driver that fits")]
    return [Finding("torch", Mark.WORKS, seen)]


def deepspeed() -> list[Finding]:
    """DeepSpeed imports, and what would be compiled on first use is left out as we expect."""
    version = importlib.import_module("deepspeed").__version__
    if not hasattr(importlib.import_module("deepspeed.comm.torch"), "build_shm_op"):
        seen = f"{version} has no build_shm_op, which the learner turns off on CPUs"
        return [Finding("DeepSpeed", Mark.CAUTION, seen, "make setup")]
    # torch's AdamW and no shared-memory kernels: `learner/zero/zero_engine.py`
    return [Finding("DeepSpeed", Mark.WORKS, f"{version}; no operator has to be compiled")]


def nccl() -> list[Finding]:
    """Return the trainer's half of vLLM's NCCL transfer, and NCCL's library.

    Raises what they raise.
    """
    from learner.push.nccl_publisher import check_nccl

    check_nccl()
    return [Finding("NCCL push", Mark.WORKS, "vLLM's trainer engine and libnccl are here")]


def ipc() -> list[Finding]:
    """Return the trainer's half of vLLM's IPC transfer, and a GPU. Raises what it raises."""
    from learner.push.ipc_publisher import check_ipc

    check_ipc()
    return [Finding("IPC push", Mark.WORKS, "vLLM's packing is here, and a GPU")]
