"""Writes MBPP's published split into `data/mbpp`, from a file or the hub: `make demo-real`.

    python deploy/data/mbpp.py [--source FILE …] [--out FOLDER]

    train.jsonl      problems 601–974
    test.jsonl       problems 11–510: what published figures are of
    test-100.jsonl   the first hundred of them, for `QUICK=1`

The rows stay as they are. Files that are there are left as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import StepcoderError
from stepcoder_dist.host.files.atomic_file import write_text
from stepcoder_dist.problems import files

HUB = "hf://datasets/google-research-datasets/mbpp/full"
SOURCES = (f"{HUB}/train-*.parquet", f"{HUB}/test-*.parquet")
OUT = Path(__file__).resolve().parents[2] / "data" / "mbpp"
PARTS = {
    "train.jsonl": range(601, 975),
    "test.jsonl": range(11, 511),
    "test-100.jsonl": range(11, 111),
}
"""Task ids, by Austin et al. 2021, section 2.1."""


class SourceError(Exception):
    """The source is not all of MBPP."""


def write(sources: Sequence[str], out: Path) -> str:
    """Write the files; return a line for the user. Raises `StepcoderError` and `SourceError`."""
    if all((out / name).is_file() for name in PARTS):
        return f"{out}: there already"
    found: dict[int, Any] = {}
    for each in (row for source in sources for row in files.rows(source)):
        if isinstance(each, Exception):
            raise each
        where, row = each
        if not isinstance(row, dict) or not isinstance(row.get("task_id"), int):
            raise SourceError(f"{where}: no row of MBPP: it has no task_id")
        found[row["task_id"]] = row
    missing = sorted(set().union(*PARTS.values()) - set(found))
    if missing:
        raise SourceError(
            f"{' '.join(sources)}: {len(missing)} problems are missing, from {missing[0]} on; give "
            "the complete set, mbpp.jsonl of google-research or the hub's"
        )
    out.mkdir(parents=True, exist_ok=True)
    for name, ids in PARTS.items():
        lines = (json.dumps(found[task_id], ensure_ascii=False) + "\n" for task_id in ids)
        write_text(out / name, "".join(lines))
    return f"{out}: {', '.join(PARTS)} from {' '.join(sources)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--source", nargs="*", metavar="FILE")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    try:
        print(write(given.source or SOURCES, given.out.resolve()))
    except (StepcoderError, SourceError, OSError) as error:
        print(f"mbpp: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
