"""`stepcoder eval --compare A B`: the same problems, one model next to the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from stepcoder_dist import evaluation_file
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.evaluation import EvaluatedSample
from stepcoder_dist.paired_gain import SMALLEST_P, paired_gain
from stepcoder_dist.records import LEVELS


def comparison_table(a: Path, b: Path) -> Table:
    """pass@1 of two evaluations on the problems that both judged, and the paired gain, by level.

    Each is a file, or a run folder (`evaluation_file.found_in`). Raises `ConfigError` where one
    cannot be read, or no problem is in both.
    """
    before, after = evaluation_file.read(a), evaluation_file.read(b)
    if not _judged(before) & _judged(after):
        raise ConfigError(
            f"{a} and {b} have no judged problem in common (first ids: {before[0].problem_id}, "
            f"{after[0].problem_id}); compare evaluations of the same set"
        )
    table = Table(title="pass@1, problems judged in both", caption=f"A {a}\nB {b}")
    for column in ("level", "problems", "A", "B", "B − A", "95%", "better", "worse", "sign test"):
        table.add_column(column, justify="left" if column == "level" else "right")
    levels = {sample.level for sample in before} & {sample.level for sample in after}
    for level in [*(level for level in LEVELS if level in levels), "all"]:
        gain = paired_gain(
            *([s for s in each if level in ("all", s.level)] for each in (before, after))
        )
        low, high = gain.interval
        table.add_row(
            level,
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


def _judged(samples: Sequence[EvaluatedSample]) -> set[str]:
    return {sample.problem_id for sample in samples if sample.verdict is not None}
