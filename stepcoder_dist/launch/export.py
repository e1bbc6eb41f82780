"""`stepcoder export`: a checkpoint's policy as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.interruption import run_until_done
from stepcoder_dist.launch.processes import console, open_learner
from stepcoder_dist.launch.ray_session import ray_session
from stepcoder_dist.run.preflight import sft_checkpoint
from stepcoder_dist.run.run_file import load as load_config
from stepcoder_dist.run.run_folder import checkpoints
from stepcoder_dist.sft.folder import refuse_to_replace


def export(run_dir: Path, step: int, out: Path) -> None:
    """`stepcoder export`."""
    checkpoint = run_dir / "checkpoints" / f"step_{step:06d}"
    if checkpoint not in checkpoints(run_dir):
        present = [path.name for path in checkpoints(run_dir)] or ["none"]
        raise ConfigError(f"{checkpoint}: no such checkpoint; there is {', '.join(present)}")
    refuse_to_replace(out, "give a new folder")
    config = load_config(run_dir / "config.toml")

    async def command() -> None:
        async with open_learner(config, sft_checkpoint(config)) as learner:
            await learner.load(str(checkpoint / "learner"))
            await learner.save_hf(str(out.resolve()))

    with ray_session(config, pools=False):
        run_until_done(command())
    console.print(f"checkpoint: {out}", highlight=False)
