"""Figures in a run of Weights & Biases. Its variables choose mode, server and key (WANDB_MODE, …).

A figure's step is a column of its own, the x axis of every chart, and not W&B's counter of rows: a
resumption does steps again, and W&B drops rows whose counter goes back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

import wandb
import wandb.errors

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import UserError


class WandbSink:
    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        self.place: str = run.url or f"{run.settings.sync_dir} (offline: `wandb sync` sends it)"
        self.finished = False

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "step": step})

    def close(self) -> None:
        """End the run and the service process that it started."""
        self._run.finish(exit_code=0 if self.finished else 1)
        wandb.teardown()


def opened(config: RunConfig, folder: Path, run_id: str | None) -> tuple[WandbSink, str]:
    """Open the run with an id, or a new one, with files in `folder/wandb`.

    Raises `UserError` where W&B refuses: no key, no network.
    """
    chosen = run_id or uuid.uuid4().hex[:12]
    try:
        run = wandb.init(
            project=config.train.wandb_project,
            id=chosen,
            name=folder.name,
            dir=folder,
            config=None if run_id else config.model_dump(mode="json"),
            resume="allow",
            # the console is ours: it draws progress
            settings=wandb.Settings(console="off", silent=True),
        )
    except (wandb.errors.Error, OSError) as error:
        seen = " ".join(str(error).split())
        raise UserError(
            f'train.wandb_project = "{config.train.wandb_project}": W&B opens no run ({seen}); '
            "`wandb login`, or set WANDB_MODE=offline, or leave the key out"
        ) from None
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return WandbSink(run), chosen
