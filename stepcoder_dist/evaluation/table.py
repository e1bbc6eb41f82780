"""The lines and tables that are printed after a step and after an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from stepcoder_dist.evaluation.pass_at_k import LevelScore
from stepcoder_dist.records import Outcome


def status(figures: Mapping[str, float]) -> str:
    """Return one line about one learner step."""
    return (
        f"reward {figures['reward']:+.2f}  pass {figures['pass_rate']:.0%}  "
        f"stage {figures['mean_stage']:.2f}  entropy {figures.get('entropy', 0):.2f}  "
        f"KL {figures.get('kl_reference', 0):.3f}  kept {figures.get('kept_share', 0):.0%}  "
        f"{figures['step_s']:.1f} s/step"
    )


def scores_table(models: Sequence[tuple[str, Sequence[LevelScore]]], *, too_long: int = 0) -> Table:
    """Return a table of pass@k and of the failures, with a row for each model and level.

    `too_long` problems were not sampled: their prompts left no room for an answer.
    """
    ks = sorted(models[0][1][0].problems_at)
    notes = [f"{too_long} more problems were not asked: their prompts are too long"] * (
        too_long > 0
    )
    caption = "\n".join([*notes, *_notes(models)])
    # several k fit a page of 120 columns without the blanks next to the lines
    table = Table(
        title="held-out problems", caption=caption or None, padding=(0, 1 if len(ks) == 1 else 0)
    )
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


_KILLED = (Outcome.TIMEOUT, Outcome.OUTPUT_LIMIT, Outcome.OUT_OF_MEMORY)


def _cells(name: str, row: LevelScore, ks: Sequence[int]) -> list[str]:
    return [
        row.level,
        name,
        str(row.problems),
        *(cell for k in ks for cell in _score(row, k)),
        f"{row.outcomes[Outcome.WRONG_ANSWER]:.0%}",
        f"{row.outcomes[Outcome.RUNTIME_ERROR]:.0%}",
        f"{sum(row.outcomes[outcome] for outcome in _KILLED):.0%}",
        f"{row.outcomes[Outcome.COMPILE_ERROR]:.0%}",
        str(row.faults),
        "" if row.executed_share is None else f"{row.executed_share:.0%}",
    ]


def _score(row: LevelScore, k: int) -> tuple[str, str]:
    if k not in row.pass_at:
        return "–", "–"
    low, high = row.intervals[k]
    return f"{row.pass_at[k]:.1%}", f"{low:.0%}–{high:.0%}"


def _notes(models: Sequence[tuple[str, Sequence[LevelScore]]]) -> list[str]:
    """Return notes on samples that the sandbox lost, and on limits that count as timeouts."""
    notes = []
    for name, rows in models:
        total = rows[-1]
        if total.lost_problems:
            notes.append(
                f"{name}: {total.lost_problems} of {total.problems + total.lost_problems} problems "
                "have no judged sample and count for nothing"
            )
        notes += [
            f"{name}: pass@{k} is over {count} of {total.problems} problems: the sandbox failed on "
            f"samples of the others, which have fewer than {k}"
            for k, count in total.problems_at.items()
            if count < total.problems
        ]
        memory, output = (
            total.outcomes[each] for each in (Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT)
        )
        if memory or output:
            notes.append(
                f"{name}: timeout holds {memory:.1%} out of memory and {output:.1%} with too much "
                "output"
            )
    return notes
