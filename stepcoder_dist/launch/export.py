"""`stepcoder export`: a checkpoint's policy as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.launch.processes import console
from stepcoder_dist.run.preflight import sft_checkpoint
from stepcoder_dist.run.run_file import load as load_config
from stepcoder_dist.run.run_folder import checkpoints
from stepcoder_dist.sft.folder import refuse_to_replace


def export(run_dir: Path, step: int, out: Path) -> None:
    """Run `stepcoder export` in one process, whatever the run's ranks and GPUs were.

    Raises `ConfigError` for a missing checkpoint and for a folder that would be replaced.
    """
    checkpoint = run_dir / "checkpoints" / f"step_{step:06d}"
    if checkpoint not in checkpoints(run_dir):
        present = [path.name for path in checkpoints(run_dir)] or ["none"]
        raise ConfigError(f"{checkpoint}: no such checkpoint; there is {', '.join(present)}")
    refuse_to_replace(out, "give a new folder")
    config = load_config(run_dir / "config.toml")

    from learner.saving import offline_export

    offline_export.export(checkpoint / "learner", sft_checkpoint(config), config, out.resolve())
    console.print(f"checkpoint: {out}", highlight=False)
