"""`nonfinite/step_000012.npz`: the batch of a learner step that was not finite, for inspection.

Plain arrays, S samples in the order of the batch: `sample_ids`, `problem_ids`, `groups`, `rewards`
float64, `outcomes`, `oldest_weights` int64, all [S]; of sample i `<i>/prompt_ids` int32 [P],
`<i>/completion_ids` int32 [T], `<i>/rollout_logprobs` float32 [T], `<i>/keep` bool [T] and
`<i>/text`; and `why`. docs/faults.md has a few lines that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepcoder_dist.host.files import atomic_file
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import StepReport

FOLDER = "nonfinite"
KEPT = 8
"""Files; older ones are removed."""


def write(run_dir: Path, report: StepReport, batch: Sequence[JudgedSample]) -> Path:
    """Write the batch of the step, complete or not at all. Raises `OSError`."""
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for draft in folder.glob(".*.draft"):  # of a run that was killed
        draft.unlink(missing_ok=True)
    path = folder / f"step_{report.version:06d}.npz"
    with atomic_file.written_bytes(path) as file:
        np.savez_compressed(file, allow_pickle=False, **_arrays(report, batch))
    for old in sorted(folder.glob("step_*.npz"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _arrays(report: StepReport, batch: Sequence[JudgedSample]) -> dict[str, Any]:
    trajectories = [judged.trajectory for judged in batch]
    arrays: dict[str, Any] = {
        "why": np.array(report.not_finite),
        "sample_ids": np.array([t.ticket.sample_id for t in trajectories]),
        "problem_ids": np.array([t.ticket.problem_id for t in trajectories]),
        "groups": np.array([t.ticket.group for t in trajectories]),
        "rewards": np.array([t.reward for t in trajectories]),
        "outcomes": np.array([t.outcome.value for t in trajectories]),
        "oldest_weights": np.array([t.oldest_weights for t in trajectories]),
    }
    for index, judged in enumerate(batch):
        t = judged.trajectory
        arrays |= {
            f"{index}/prompt_ids": t.prompt_ids,
            f"{index}/completion_ids": t.completion_ids,
            f"{index}/rollout_logprobs": t.rollout_logprobs,
            f"{index}/keep": t.keep,
            f"{index}/text": np.array(judged.completion.program.source),
        }
    return arrays
