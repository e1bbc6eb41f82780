"""The judged samples of later steps that a checkpoint holds, where rollouts run ahead repeatably.

    ahead.json   a row for each sample: ticket, settings, text, weights, verdict
    ahead.npz    its arrays: prompt, tokens, spans, log-probs, by `<index of the row>/<name>`

Rewards and masks are not kept: they follow from the verdict, and are made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import ConfigError
from stepcoder_dist.host.files.json_file import parsed
from stepcoder_dist.loop.judged_sample import JudgedSample, scored
from stepcoder_dist.records import (
    Completion,
    LineStructure,
    Outcome,
    Problem,
    RolloutRequest,
    TestResult,
    Ticket,
    Verdict,
)
from stepcoder_dist.text.program import assemble
from stepcoder_dist.text.token_lines import token_lines

_ROWS, _ARRAYS = "ahead.json", "ahead.npz"


def write(folder: Path, samples: Sequence[JudgedSample]) -> None:
    """Write the samples into a checkpoint that is not visible yet; nothing where there are none."""
    if not samples:
        return
    arrays: dict[str, Any] = {}
    for index, sample in enumerate(samples):
        arrays |= {f"{index}/{name}": array for name, array in _arrays_of(sample).items()}
    np.savez_compressed(folder / _ARRAYS, **arrays)
    rows = [_row_of(sample) for sample in samples]
    (folder / _ROWS).write_text(json.dumps(rows), encoding="utf-8")


def read(folder: Path, problems: Mapping[str, Problem], config: RunConfig) -> list[JudgedSample]:
    """Return the samples of a checkpoint, none where it holds none.

    Raises `ConfigError` for files that are damaged.
    """
    if not (folder / _ROWS).exists():
        return []
    try:
        rows = parsed((folder / _ROWS).read_text(encoding="utf-8"))
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            its_own = [{name: arrays[f"{i}/{name}"] for name in _NAMES} for i in range(len(rows))]
        return [
            _sample_of(row, named, problems, config)
            for row, named in zip(rows, its_own, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{folder / _ROWS} is damaged ({type(error).__name__}: {error}); remove {folder.name} "
            "to resume from the checkpoint before it"
        ) from None


_NAMES = ("prompt_ids", "token_ids", "char_spans", "logprobs")


def _arrays_of(sample: JudgedSample) -> dict[str, Any]:
    completion = sample.completion
    return {
        "prompt_ids": sample.request.prompt_ids,
        "token_ids": completion.token_ids,
        "char_spans": completion.char_spans,
        "logprobs": completion.logprobs,
    }


def _row_of(sample: JudgedSample) -> dict[str, Any]:
    request, completion = sample.request, sample.completion
    return {
        "ticket": asdict(request.ticket),
        "request": {
            "given": request.given,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_new_tokens": request.max_new_tokens,
        },
        "completion": {
            "text": completion.text,
            "ended": completion.ended,
            "oldest_weights": completion.oldest_weights,
            "newest_weights": completion.newest_weights,
            "actor": completion.actor,
            "seconds": completion.seconds,
        },
        "verdict": _verdict_row(sample.verdict),
        "judge_ms": sample.trajectory.judge_ms,
    }


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    structure = verdict.structure
    return {
        "outcome": verdict.outcome,
        "coverage_trusted": verdict.coverage_trusted,
        "wall_ms": verdict.wall_ms,
        "detail": verdict.detail,
        "likeness": verdict.likeness,
        "tests": [
            {
                "outcome": test.outcome,
                "executed_lines": sorted(test.executed_lines),
                "cpu_ms": test.cpu_ms,
                "detail": test.detail,
            }
            for test in verdict.tests
        ],
        "structure": structure
        and {
            "code_lines": sorted(structure.code_lines),
            "follows": structure.follows,
            "comment_lines": sorted(structure.comment_lines),
        },
    }


def _verdict_of(row: Mapping[str, Any]) -> Verdict:
    structure = row["structure"]
    tests = (
        TestResult(
            **{
                **test,
                "outcome": Outcome(test["outcome"]),
                "executed_lines": frozenset(test["executed_lines"]),
            }
        )
        for test in row["tests"]
    )
    return Verdict(
        outcome=Outcome(row["outcome"]),
        tests=tuple(tests),
        structure=structure
        and LineStructure(
            code_lines=frozenset(structure["code_lines"]),
            follows=tuple(map(tuple, structure["follows"])),
            comment_lines=frozenset(structure["comment_lines"]),
        ),
        coverage_trusted=row["coverage_trusted"],
        wall_ms=row["wall_ms"],
        detail=row["detail"],
        likeness=row.get("likeness") and tuple(row["likeness"]),
    )


def _sample_of(
    row: Mapping[str, Any],
    arrays: Mapping[str, Any],
    problems: Mapping[str, Problem],
    config: RunConfig,
) -> JudgedSample:
    ticket = Ticket(**row["ticket"])
    request = RolloutRequest(ticket=ticket, prompt_ids=arrays["prompt_ids"], **row["request"])
    text, spans, ended = (
        row["completion"]["text"],
        arrays["char_spans"],
        row["completion"]["ended"],
    )
    program = assemble(request.given, text)
    completion = Completion(
        sample_id=ticket.sample_id,
        token_ids=arrays["token_ids"],
        char_spans=spans,
        logprobs=arrays["logprobs"],
        program=program,
        token_lines=token_lines(program, text, spans, ended=ended),
        **row["completion"],
    )
    problem, verdict = problems[ticket.problem_id], _verdict_of(row["verdict"])
    return scored(completion, request, problem, verdict, config, judge_ms=row["judge_ms"])
