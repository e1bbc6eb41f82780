"""What `stepcoder doctor` looks at for one run file: the probes, their arguments, their order.

Roles' probes are named here and imported only in the processes that they run in.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig
from stepcoder_dist.doctor import run_needs
from stepcoder_dist.doctor.examination import Finding, Probe, examine
from stepcoder_dist.doctor.gpu_memory import GIB
from stepcoder_dist.errors import UserError
from stepcoder_dist.paths import runs_root
from stepcoder_dist.run.reservations import demand

DEMO = Path(__file__).parents[2] / "deploy" / "runs" / "demo.toml"
_RAY_LOGS_BYTES = 0.5 * GIB


def demo_file() -> Path:
    """Return the run file that is looked at when none is named.

    Raises `UserError` outside a checkout.
    """
    if not DEMO.is_file():
        raise UserError(f"{DEMO} is not there; name a run file: stepcoder doctor RUN.toml")
    return DEMO


def findings(config: RunConfig, run_file: Path) -> Iterator[Finding]:
    """Return every finding about this machine, or the cluster of `RAY_ADDRESS`, for this run."""
    local = not os.environ.get("RAY_ADDRESS")
    return chain(examine(probes(config, local=local)), run_needs.findings(config, run_file))


def probes(config: RunConfig, *, local: bool) -> list[Probe]:
    """Return the probes that this run needs. `local` False: the run's processes go to a cluster."""
    on_gpu = config.learner.resources.num_gpus > 0 and local
    # a cluster's GPUs are its nodes' own business; here DeepSpeed need only import
    cpu = {} if on_gpu else {"DS_ACCELERATOR": "cpu"}
    setup = "make setup GPU=1" if on_gpu else "make setup"
    run = config.model_dump(mode="json", exclude_none=True)
    found = [
        Probe(
            subject="machine",
            module="stepcoder_dist.doctor.machine_probes",
            calls=_machine_calls(config, local=local),
        ),
        Probe(
            subject="GPU",
            module="stepcoder_dist.doctor.gpu_probes",
            calls={"gpus": {"run": run, "local": local}},
        ),
        Probe(
            subject="vLLM",
            module="actors.probes",
            calls={"vllm": {}},
            environment={"VLLM_LOGGING_LEVEL": "CRITICAL", "VLLM_NO_USAGE_STATS": "1"},
            fix=setup,
        ),
        Probe(
            subject="torch, DeepSpeed",
            module="learner.probes",
            calls={"torch": {"on_gpu": on_gpu}, "deepspeed": {}},
            environment=cpu,
            fix=setup,
        ),
    ]
    if config.weights.transport == "nccl" and local:
        nccl = Probe(subject="NCCL push", module="learner.probes", calls={"nccl": {}}, fix=setup)
        found.append(nccl)
    if config.weights.transport == "ipc" and local:
        ipc = Probe(subject="IPC push", module="learner.probes", calls={"ipc": {}}, fix=setup)
        found.append(ipc)
    session = Probe(
        subject="Ray",
        module="stepcoder_dist.launch.cluster.ray_probe",
        calls={"session": {"demand": demand(config)}, "authentication": {}},
        fix="make setup; what Ray printed is under /tmp/ray",
    )
    return [*found, session, *_sandbox(config)]


def _machine_calls(config: RunConfig, *, local: bool) -> dict[str, dict[str, Any]]:
    run_dir = config.run_dir or str(runs_root())
    folders = {run_dir: run_needs.checkpoint_bytes(config), tempfile.gettempdir(): _RAY_LOGS_BYTES}
    calls: dict[str, dict[str, Any]] = {
        "python": {},
        "packages": {},
        "disk": {"folders": folders},
        "open_files": {},
    }
    if local:
        calls |= {
            "processors": {"asked": demand(config).get("CPU", 0.0)},
            "memory": {"needed": run_needs.host_bytes(config)},
            "shared_memory": {"needed": run_needs.shared_bytes(config)},
        }
    return calls


def _sandbox(config: RunConfig) -> list[Probe]:
    """Probe this machine's engine; a cluster's driver too chooses the backend by its own engine."""
    backend = config.sandbox.backend
    docker = Probe(
        subject="Docker",
        module="sandbox.probes",
        # `auto` works without an engine, but not with one that lacks the image
        calls={
            "docker": {
                "image": config.sandbox.image,
                "packages": list(config.sandbox.packages),
                "auto": backend == "auto",
                "runtime": config.sandbox.runtime,
            }
        },
        fix="make setup",
    )
    bubblewrap = Probe(
        subject="bubblewrap",
        module="sandbox.probes",
        calls={"bubblewrap": {"root": config.sandbox.root, "auto": backend == "auto"}},
    )
    attached = Probe(
        subject="guests",
        module="sandbox.probes",
        calls={"attached": {"sockets": config.sandbox.sockets}},
    )
    process = Probe(subject="without Docker", module="sandbox.probes", calls={"process": {}})
    return {
        "docker": [docker],
        "bubblewrap": [bubblewrap],
        "attached": [attached],
        "process": [process],
        "auto": [docker, bubblewrap, process],
    }[backend]
