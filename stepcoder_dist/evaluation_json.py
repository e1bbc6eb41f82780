"""What `stepcoder eval` prints, for machines: unrounded, one object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stepcoder_dist.config import RunConfig
from stepcoder_dist.evaluation import LevelScore
from stepcoder_dist.evaluation_comparison import Comparison


def of_scores(config: RunConfig, model: str, samples: Path, scores: Sequence[LevelScore]) -> str:
    """`eval --json`."""
    return json.dumps(
        {
            "model": model,
            "problems": config.problems.heldout,
            "prompt": config.prompt.model_dump(mode="json"),
            "evaluation": config.evaluation.model_dump(mode="json"),
            "seed": config.seed,
            "samples_file": str(samples),
            "levels": [
                {
                    "level": score.level,
                    "problems": score.problems,
                    "lost_problems": score.lost_problems,
                    "samples": score.samples,
                    "sandbox_faults": score.faults,
                    "pass_at": {
                        str(k): {
                            "value": value,
                            "interval": score.intervals[k],
                            "problems": score.problems_at[k],
                        }
                        for k, value in score.pass_at.items()
                    },
                    "outcomes": score.outcomes,
                    "executed_share": score.executed_share,
                }
                for score in scores
            ],
        }
    )


def of_comparison(found: Comparison) -> str:
    """`eval --compare A B --json`."""
    return json.dumps(
        {
            "a": str(found.a),
            "b": str(found.b),
            "only_a": found.only_a,
            "only_b": found.only_b,
            "gains": [
                {
                    "level": level,
                    "k": gain.k,
                    "problems": gain.problems,
                    "a": gain.before,
                    "b": gain.after,
                    "gain": gain.gain,
                    "interval": gain.interval,
                    "better": gain.better,
                    "worse": gain.worse,
                    "p_value": gain.p_value,
                }
                for level, gain in found.gains
            ],
        }
    )
