"""The message where a role's packages are not installed: one line that names the extra."""

from __future__ import annotations

_EXTRAS = {
    "ray": "driver",
    "tensorboard": "driver",
    "vllm": "actors-cpu",
    "safetensors": "actors-cpu",
    "torch": "learner",
    "deepspeed": "learner",
    "transformers": "learner",
    "docker": "sandbox",
    "aiohttp": "sandbox",
    "prometheus_client": "sandbox",
    "datasketch": "data",
    "scipy": "report",
    "matplotlib": "report",
    "wandb": "wandb",
    "mlflow": "mlflow",
}
"""Heavy packages and the extras of pyproject.toml that bring them."""


def message(error: ModuleNotFoundError) -> str | None:
    """Return the line for the user; None where the module is no package of a role, and so a bug."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package)
    if extra is None:
        return None
    gpu = ", on GPUs [actors]" if extra == "actors-cpu" else ""
    return (
        f"{package} is not installed; `make setup` installs everything from the lock, "
        f"pip install 'stepcoder-dist[{extra}]' this part{gpu}"
    )
