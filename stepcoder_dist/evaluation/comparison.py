"""`stepcoder eval --compare A B`: the same problems, one model next to the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from stepcoder_dist.errors import ConfigError
from stepcoder_dist.evaluation import file as evaluation_file
from stepcoder_dist.evaluation.evaluated_sample import EvaluatedSample
from stepcoder_dist.evaluation.paired_gain import SMALLEST_P, PairedGain, paired_gain
from stepcoder_dist.evaluation.scores_file import of_gain, settings_of
from stepcoder_dist.problems.levels import ordered

USUAL_KS = (1, 5, 10, 100)
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The gain of B over A on the problems that both judged."""

    a: Path
    b: Path
    only_a: tuple[str, ...]
    """Ids of problems that A judged and B did not."""
    only_b: tuple[str, ...]
    unlike: tuple[str, ...]
    """Settings in which the two differ, each with both values."""
    gains: tuple[tuple[str, PairedGain], ...]
    """By level, then all. Each has the k of the two evaluations and the usual ones, where some
    problem has that many samples in both."""


def compare(a: Path, b: Path) -> Comparison:
    """Compare two evaluations, each in a file or a run folder (`evaluation.file.found_in`).

    Raises `ConfigError` where one cannot be read, or no problem is judged in both.
    """
    before, after = evaluation_file.read(a), evaluation_file.read(b)
    old, new = _judged(before), _judged(after)
    if not old.keys() & new.keys():
        raise ConfigError(
            f"{a} and {b} have no judged problem in common (first ids: {before[0].problem_id}, "
            f"{after[0].problem_id}); compare evaluations of the same set"
        )
    made = [settings_of(evaluation_file.found_in(each)) for each in (a, b)]
    ks = sorted({*USUAL_KS, *(k for each in made if each for k in each[1])})
    levels = {sample.level for sample in before} & {sample.level for sample in after}
    rows = []
    for level in [*ordered(levels), "all"]:
        members = [[s for s in each if level in ("all", s.level)] for each in (before, after)]
        for k in ks:
            gain = paired_gain(members[0], members[1], k)
            if gain.problems or k == 1:
                rows.append((level, gain))
    return Comparison(
        a=a,
        b=b,
        only_a=tuple(name for name in old if name not in new),
        only_b=tuple(name for name in new if name not in old),
        unlike=_unlike(made[0][0], made[1][0]) if made[0] and made[1] else (),
        gains=tuple(rows),
    )


def as_json(found: Comparison) -> dict[str, Any]:
    """Return the object of `eval --compare A B --json`."""
    return {
        "a": str(found.a),
        "b": str(found.b),
        "only_a": found.only_a,
        "only_b": found.only_b,
        "unlike": found.unlike,
        "gains": [of_gain(level, gain) for level, gain in found.gains],
    }


def comparison_table(found: Comparison) -> Table:
    """Return a table with a row for each level and k, and a note of what is not compared."""
    notes = [f"A {found.a}", f"B {found.b}"]
    for name, ids in (("A", found.only_a), ("B", found.only_b)):
        if ids:
            named = ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
            problems = "problem" if len(ids) == 1 else "problems"
            notes.append(f"left out: {len(ids)} {problems} judged in {name} only ({named})")
    notes += [f"not made alike: {difference}" for difference in found.unlike]
    table = Table(title="problems judged in both", caption="\n".join(notes))
    columns = ("level", "score", "problems", "A", "B", "B − A", "95%", "better", "worse")
    for column in (*columns, "sign test"):
        table.add_column(column, justify="left" if column in {"level", "score"} else "right")
    for level, gain in found.gains:
        low, high = gain.interval
        table.add_row(
            level,
            f"pass@{gain.k}",
            str(gain.problems),
            f"{gain.before:.1%}",
            f"{gain.after:.1%}",
            f"{100 * gain.gain:+.1f}",
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            str(gain.better),
            str(gain.worse),
            f"{gain.p_value:.3f}" if gain.p_value >= SMALLEST_P else f"< {SMALLEST_P}",
        )
    return table


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the differences in the settings that both have: an earlier version wrote fewer."""
    return tuple(
        f"{key} = {first[key]!r} in A, {second[key]!r} in B"
        for key in first
        if key in second and first[key] != second[key]
    )


def _judged(samples: Sequence[EvaluatedSample]) -> Counter[str]:
    return Counter(sample.problem_id for sample in samples if sample.outcome is not None)
