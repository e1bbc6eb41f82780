"""`stepcoder samples`: a recorded sample in a terminal, with the marks of the report's page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import UserError
from stepcoder_dist.report.catalogue import OUTCOME_LABELS
from stepcoder_dist.report.run_reading import Row, check_run, each_sample
from stepcoder_dist.report.sample_lines import (
    AFTER,
    EXECUTED,
    FOLLOWS,
    GIVEN,
    GIVEN_TEXT,
    MASKED,
    NOTHING_RAN,
    UNTRUSTED,
    drawn,
)

MARKS = {
    GIVEN: ("┊", "given"),
    EXECUTED: ("✓", "executed"),
    FOLLOWS: ("↳", "kept with its statement or block"),
    MASKED: ("✕", "not executed, masked"),
    UNTRUSTED: ("?", "untrusted coverage, kept"),
    NOTHING_RAN: ("!", "does not compile, kept"),
    AFTER: ("·", "after the program"),
}
"""The mark of each fate of a line (docs/report.md), and its meaning."""
_LABELS = {str(outcome): label for outcome, label in OUTCOME_LABELS.items()}


def listed(run_dir: Path) -> Iterator[str]:
    """Yield a line for each sample kept in full. Raises `UserError` where there is none."""
    check_run(run_dir)
    found = False
    for row in each_sample(run_dir):
        if "source" in row:
            found = True
            yield _title(row)
    if not found:
        raise UserError(
            f"{run_dir}: holds no sample in full yet; train.detailed_samples says how many of a "
            "step are kept in full"
        )


def show(run_dir: Path, sample_id: str, *, tokens: bool) -> Iterator[str]:
    """Return the lines of one sample; with `tokens` each line's tokens below it.

    Raises `UserError` where the run has no such sample or did not keep it in full.
    """
    check_run(run_dir)
    row = next((row for row in each_sample(run_dir) if row.get("sample_id") == sample_id), None)
    if row is None or "source" not in row:
        what = "no sample" if row is None else "only the outcome, not the program, of sample"
        raise UserError(
            f"{run_dir}: {what} {sample_id!r}; `stepcoder samples {run_dir}` lists those to see"
        )
    try:
        sample = drawn(row)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run_dir}: sample {sample_id!r} is damaged ({error})") from None
    return _shown(row, sample, tokens=tokens)


def _shown(row: Row, sample: dict[str, Any], *, tokens: bool) -> Iterator[str]:
    passed, total = sample["tests"]
    yield _title(row)
    detail = f": {_printable(sample['detail'])}" if sample["detail"] else ""
    yield f"{passed} of {total} tests passed{detail}"
    fates = {fate for fate, _, _ in sample["lines"]}
    yield "   ".join(f"{mark} {says}" for fate, (mark, says) in MARKS.items() if fate in fates)
    yield ""
    texts = _token_texts(sample)
    shown = 0
    for number, (fate, _, pieces) in enumerate(sample["lines"], start=1):
        code = _printable("".join(text for _, text in pieces).rstrip("\r\n"))
        yield f"{number:>4} {MARKS[fate][0]} {code}".rstrip()
        if tokens:
            # a token over several lines is below its first line
            last = max((token for token, _ in pieces), default=GIVEN_TEXT)
            for token in range(shown, last + 1):
                yield _token(sample, token, texts)
            shown = max(shown, last + 1)
    if tokens:
        for token in range(shown, len(sample["kept"])):
            yield _token(sample, token, texts)


def _token_texts(sample: dict[str, Any]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for _, _, pieces in sample["lines"]:
        for token, text in pieces:
            texts[token] = texts.get(token, "") + text
    return texts


def _token(sample: dict[str, Any], token: int, texts: dict[int, str]) -> str:
    policy = "trained" if sample["kept"][token] == "k" else "masked"
    text = repr(texts[token]) if token in texts else "(prints nothing by itself)"
    return f"{token:>12}  {policy:<7} {sample['logprobs'][token]:>8.3f}  {text}"


def _title(row: Row) -> str:
    """Return the title of a sample, even of a row with odd fields, so that a listing continues."""
    outcome = str(row.get("outcome"))
    kept = row.get("kept_share")
    share = f"  {kept:.0%} of tokens trained" if isinstance(kept, float) else ""
    return (
        f"{row.get('sample_id')}  step {row.get('step')}  {row.get('problem_id')}  "
        f"stage {row.get('stage')}  {_LABELS.get(outcome, outcome)}  "
        f"reward {row.get('reward')}{share}"
    )


def _printable(text: str) -> str:
    """Make hostile text printable: nothing in a program may move a terminal's cursor."""
    return "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode()
        for each in text
    )
