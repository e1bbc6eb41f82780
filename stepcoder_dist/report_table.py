"""What is printed at the end of a phase: status lines and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from stepcoder_dist.evaluation import LevelScore
from stepcoder_dist.records import Outcome


def status(figures: Mapping[str, float]) -> str:
    """One line about one learner step."""
    return (
        f"reward {figures['reward']:+.2f}  pass {figures['pass_rate']:.0%}  "
        f"stage {figures['mean_stage']:.2f}  entropy {figures.get('entropy', 0):.2f}  "
        f"KL {figures.get('kl_reference', 0):.3f}  kept {figures.get('kept_share', 0):.0%}  "
        f"{figures['step_s']:.1f} s/step"
    )


def scores_table(models: Sequence[tuple[str, Sequence[LevelScore]]]) -> Table:
    """pass@k by level, one line for each model and level, and what the failures were."""
    ks = sorted(models[0][1][0].pass_at)
    table = Table(title="held-out problems")
    for column in ("level", "model", "problems"):
        table.add_column(column, justify="right" if column == "problems" else "left")
    for k in ks:
        table.add_column(f"pass@{k}", justify="right")
    table.add_column("95%", justify="right")
    for column in ("wrong", "runtime", "timeout", "compile", "faults", "covered"):
        table.add_column(column, justify="right")
    for rows in zip(*(scores for _, scores in models), strict=True):
        for (name, _), row in zip(models, rows, strict=True):
            table.add_row(*_cells(name, row, ks), end_section=row is rows[-1])
    return table


def _cells(name: str, row: LevelScore, ks: Sequence[int]) -> list[str]:
    low, high = row.interval
    killed = (Outcome.TIMEOUT, Outcome.OUTPUT_LIMIT, Outcome.OUT_OF_MEMORY)
    return [
        row.level,
        name,
        str(row.problems),
        *(f"{row.pass_at[k]:.1%}" if row.problems else "–" for k in ks),
        f"{low:.0%}–{high:.0%}" if row.problems else "–",
        f"{row.outcomes[Outcome.WRONG_ANSWER]:.0%}",
        f"{row.outcomes[Outcome.RUNTIME_ERROR]:.0%}",
        f"{sum(row.outcomes[outcome] for outcome in killed):.0%}",
        f"{row.outcomes[Outcome.COMPILE_ERROR]:.0%}",
        str(row.faults),
        "" if row.executed_share is None else f"{row.executed_share:.0%}",
    ]
