"""The demo's evaluations, kept with what they depend on, so that none is made twice.

eval/<label>.jsonl            one object for each evaluated sample
eval/<label>.made_from.json   what they depend on; written after them
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.config.counts import kept_with_trained, kept_with_untrained
from stepcoder_dist.evaluation import file as evaluation_file
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.records import Problem
from stepcoder_dist.run import digests
from stepcoder_dist.run.run_folder import RunFolder

LABELS = ("SFT", "RL")


def identities(
    config: RunConfig, problems: Sequence[Problem], heldout: Sequence[Problem], checkpoint: str
) -> dict[str, dict[str, Any]]:
    """Return what the evaluations before and after RL depend on, by label."""
    values, sources = keys.values(config), digests.sources(problems, checkpoint)
    held = digests.of_problems(heldout)
    return {
        "SFT": {
            "config": keys.counting(values, kept_with_untrained),
            "the held-out problems": held,
            "the starting checkpoint": sources["the starting checkpoint"],
        },
        "RL": {
            "config": keys.counting(values, kept_with_trained),
            "the held-out problems": held,
            **sources,
        },
    }


def read(
    folder: RunFolder, made_from: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[EvaluatedSample]]:
    """Return the samples of the evaluations that are there and were made from the same, by label.

    Those of RL count only where those of SFT do: they come from a later stage.
    """
    found: dict[str, list[EvaluatedSample]] = {}
    for label in LABELS:
        samples = folder.path / "eval" / f"{label.lower()}.jsonl"
        try:
            there = parsed(samples.with_suffix(".made_from.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return found
        if there != made_from[label] or not samples.is_file():
            return found
        found[label] = evaluation_file.read(samples)
    return found


def write(
    folder: RunFolder, label: str, samples: Sequence[EvaluatedSample], made_from: Mapping[str, Any]
) -> None:
    """Write the samples, then what they depend on."""
    record = (folder.path / "eval" / f"{label.lower()}.made_from.json").resolve()
    record.unlink(missing_ok=True)  # it must not vouch for other samples
    folder.write_evaluation(label.lower(), samples)
    evaluation_file.write_text(record, json.dumps(made_from, indent=1) + "\n")
