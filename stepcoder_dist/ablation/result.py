"""The result of one cell as a JSON file.

cell       setting, arm, method, seed
identity   the inputs of the measurement: resolved config, digests of model and problems
measured   what a repetition must reproduce: held-out passes, curves
made_on    commit, versions, machine, seconds, which no comparison looks at
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepcoder_dist.ablation.plan import SFT, Cell
from stepcoder_dist.config import keys
from stepcoder_dist.config.counts import kept_with_trained, kept_with_untrained
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files import atomic_file, output_file
from stepcoder_dist.host.files.json_file import is_figure, parsed
from stepcoder_dist.records import Problem
from stepcoder_dist.run import digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The held-out problems under the weights of one step."""

    step: int
    samples: int
    """Samples trained until then."""
    passed: tuple[float, ...]
    """Share of a problem's programs that passed, in the order of `Measured.problems`."""
    passed_weak: tuple[float, ...]
    """The same programs judged by the weak tests; empty where a setting has none."""
    outcomes: Mapping[str, int]

    @property
    def pass_at_1(self) -> float:
        return sum(self.passed) / len(self.passed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The measurement of a cell. Two runs on the same kind of machine give the same."""

    problems: tuple[str, ...]
    levels: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    """Evaluations by step; the last one is the cell's result."""
    curve: Mapping[str, tuple[float | None, ...]]
    """Figures by step, from `curve.py`; empty for a cell that is not trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one cell."""

    setting: str
    arm: str
    method: str
    seed: int | None
    identity: Mapping[str, Any]
    measured: Measured
    made_on: Mapping[str, Any]


FIX_OUT = "choose another out"
"""What to do where a result cannot be written."""
_MADE_ON = frozenset(("wall_s", "commit", "dirty", "python", "versions", "processor", "cores"))
"""The keys of `made_on` that a page needs of every result."""


def identity(cell: Cell, problems: Mapping[str, Sequence[Problem]]) -> dict[str, Any]:
    """Return the inputs of a cell's measurement; `problems` by part: train, heldout, weak."""
    config = _config_of(cell)
    parts = problems if cell.arm != SFT else {k: v for k, v in problems.items() if k != "train"}
    return {
        "config": config,
        "config_sha256": _digest(json.dumps(config, sort_keys=True)),
        "eval_every": cell.eval_every if cell.arm != SFT else 0,
        "warm_start_sha256": digests.of_weights(cell.config.sft_folder),
        "problems_sha256": {
            name: digests.of_problems(each) for name, each in sorted(parts.items())
        },
    }


def _config_of(cell: Cell) -> dict[str, Any]:
    return keys.counting(
        keys.values(cell.config), kept_with_untrained if cell.arm == SFT else kept_with_trained
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the differences of two identities, a phrase for each.

    A result stays valid when a new version of the software has another key, or finds that one does
    not count.
    """
    config = keys.differences(then["config"], now["config"], kept_with_trained)
    others = ("eval_every", "warm_start_sha256", "problems_sha256")
    return [*map(str, config)] + [
        f"{key} = {then.get(key)!r} there, {now.get(key)!r} here"
        for key in others
        if then.get(key) != now.get(key)
    ]


def write(path: Path, result: Result) -> None:
    """Write the file, atomically. Raises `ConfigError` where it cannot be written."""
    with output_file.writing(path, FIX_OUT, ConfigError):
        atomic_file.write_text(path, _pretty(asdict(result)) + "\n")


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with a line for every key and every list, so that a diff shows what changed."""
    if not isinstance(value, Mapping) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    items = (
        f"{inner}{json.dumps(key, ensure_ascii=False)}: {_pretty(each, inner)}"
        for key, each in value.items()
    )
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def read(path: Path) -> Result:
    """Read a result. Raises `ConfigError` for a file that is none."""
    try:
        tree = parsed(path.read_text(encoding="utf-8"))
        measured = tree.pop("measured")
        evaluations = [_evaluation(each) for each in measured["evaluations"]]
        result = Result(
            **tree,
            measured=Measured(
                problems=tuple(measured["problems"]),
                levels=tuple(measured["levels"]),
                evaluations=tuple(evaluations),
                curve={name: tuple(values) for name, values in measured["curve"].items()},
            ),
        )
        _check(result)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: no result of `stepcoder ablate` ({type(error).__name__}: {error}); restore "
            "it, or remove it to measure the cell again"
        ) from None
    return result


def _check(result: Result) -> None:
    """Raise `LookupError`, `TypeError` or `ValueError` where a part is gone or is no number."""
    dict(result.identity["config"])  # the list that all shares refer to
    if absent := _MADE_ON - result.made_on.keys():
        raise KeyError(", ".join(sorted(absent)))
    if not is_figure(result.made_on["wall_s"]):
        raise TypeError("wall_s is no number of seconds")
    measured = result.measured
    if not all(each is None or is_figure(each) for row in measured.curve.values() for each in row):
        raise TypeError("a figure of the curve is no number")
    measured.evaluations[-1]  # the result itself
    sizes = {len(each.passed) for each in measured.evaluations} | {len(measured.levels)}
    weakly = {len(each.passed_weak) for each in measured.evaluations} - {0}
    if sizes | weakly != {len(measured.problems)}:
        raise ValueError("an evaluation does not have one share a problem")


def _evaluation(row: Mapping[str, Any]) -> Evaluation:
    passed, weakly, outcomes = tuple(row["passed"]), tuple(row["passed_weak"]), row["outcomes"]
    if not all(is_figure(each) and 0 <= each <= 1 for each in (*passed, *weakly)):
        raise ValueError("a share of programs that passed is none")
    counts = (row["step"], row["samples"], *outcomes.values())
    if not all(isinstance(each, int) and each >= 0 for each in counts):
        raise ValueError("a step or a count is none")
    return Evaluation(
        step=row["step"],
        samples=row["samples"],
        passed=passed,
        passed_weak=weakly,
        outcomes=outcomes,
    )


def not_the_same(one: Measured, other: Measured) -> list[str]:
    """Return the names of what differs between two measurements.

    Empty where they agree bit for bit.

    `one` is the kept one. A figure of the curve that only a later version records is no difference.
    """
    first, second = _flat_lists(asdict(one)), _flat_lists(asdict(other))
    later = {f"curve.{name}" for name in other.curve.keys() - one.curve.keys()}
    return [
        name
        for name in sorted((first.keys() | second.keys()) - later)
        if json.dumps(first.get(name)) != json.dumps(second.get(name))
    ]


def _flat_lists(tree: Mapping[str, Any]) -> dict[str, Any]:
    evaluations = {f"step {each['step']}": each for each in tree["evaluations"]}
    return keys.flat({**tree, "evaluations": evaluations})
