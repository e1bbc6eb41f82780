"""The rows of samples.jsonl: one for every trained sample, some with details (docs/report.md).

A detailed row holds what a reader needs to see the program as it was sampled, judged and masked.
It has token lengths and run lengths instead of spans and flags: about 10 bytes a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from stepcoder_dist.config import RunConfig
from stepcoder_dist.host.even_choice import evenly
from stepcoder_dist.loop.judged_sample import JudgedSample
from stepcoder_dist.records import Int32Array, Trajectory
from stepcoder_dist.text.program import line_starts


def sample_rows(
    step: int, batch: Sequence[JudgedSample], config: RunConfig
) -> Iterator[dict[str, Any]]:
    """Yield one row for each sample, in the order of the batch."""
    detailed = _chosen(step, batch, config)
    for judged in batch:
        row = {"step": step, **_short(judged.trajectory)}
        if judged.sample_id in detailed:
            row |= _detail(judged)
        yield row


def keeps_detail(step: int) -> bool:
    """Return whether a step has at most two significant digits: 1…100, 110, …, 1000, 1100, …

    The rule depends on the step alone, so that a resumed run writes the same rows. It selects 100
    steps up to step 100, then 90 for each factor of ten.
    """
    return not str(step)[2:].strip("0")


def _chosen(step: int, batch: Sequence[JudgedSample], config: RunConfig) -> set[str]:
    number = config.train.detailed_samples if keeps_detail(step) else 0
    if not number:
        return set()
    by_outcome = evenly(batch, lambda judged: judged.trajectory.outcome)
    return {judged.sample_id for judged in by_outcome[:number]}


def _short(trajectory: Trajectory) -> dict[str, Any]:
    carriers = trajectory.carriers
    return {
        "sample_id": trajectory.ticket.sample_id,
        "problem_id": trajectory.ticket.problem_id,
        "level": trajectory.level,
        "stage": trajectory.ticket.stage,
        "outcome": trajectory.outcome,
        "reward": trajectory.reward,
        "weights": [trajectory.oldest_weights, trajectory.newest_weights],
        "tokens": len(trajectory.completion_ids),
        "kept_share": int(np.count_nonzero(carriers)) / len(carriers),
    }


def _detail(judged: JudgedSample) -> dict[str, Any]:
    completion, verdict = judged.completion, judged.verdict
    program = completion.program
    trajectory, lines = judged.trajectory, judged.lines
    every = range(1, len(line_starts(program.source)) + 1)
    detail = {
        "source": program.source,
        "given_chars": program.given_chars,
        "tail": completion.text[program.code_chars :],
        "token_chars": _lengths(completion.char_spans),
        "logprobs": [round(float(value), 3) for value in trajectory.rollout_logprobs],
        "kept": _runs([bool(flag) for flag in trajectory.carriers]),
        "executed_lines": sorted(verdict.executed_lines),
        "kept_lines": sorted(every if lines is None else lines.either),
        "compiled": verdict.structure is not None,
        "coverage_trusted": verdict.coverage_trusted,
        "tests_passed": verdict.tests_passed,
        "tests_total": judged.tests_total,
        "detail": verdict.detail,
    }
    if lines is not None and lines.blamed != lines.rewarded:
        # what is kept depends on the sign of the advantage, which the learner decides
        detail |= {
            "rewarded_lines": sorted(lines.rewarded),
            "blamed_lines": sorted(lines.blamed),
        }
    return detail


def _lengths(spans: Int32Array) -> list[int]:
    """Return the characters of each token; 0 for one that prints nothing by itself.

    Spans leave no gaps, so the lengths determine them: their sums are the spans' ends.
    """
    lengths: list[int] = []
    printed = 0
    shared = [*(spans[:-1] == spans[1:]).all(axis=1).tolist(), False]
    for (_, end), shares in zip(spans.tolist(), shared, strict=True):
        lengths.append(0 if shares else end - printed)
        printed += lengths[-1]
    return lengths


def _runs(flags: Sequence[bool]) -> list[int]:
    """Return the lengths of the runs of equal flags, True first: [T, T, F] is [2, 1]."""
    runs = [len(list(run)) for _, run in groupby(flags)]
    return runs if not flags or flags[0] else [0, *runs]
