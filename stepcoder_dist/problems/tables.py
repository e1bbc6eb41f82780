"""Rows of tables: parquet files, and arrow files as `datasets` writes them. They need pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import MissingEngine, ProblemError

ENDINGS = (".parquet", ".arrow")
_BATCH_ROWS = 16
"""Rows held at a time: a row of LiveCodeBench can have hundreds of megabytes."""


def rows(path: Path) -> Iterator[tuple[str, Any] | ProblemError]:
    """Yield every row with its place, as JSON would give it; one that has no such form as an error.

    Raises `MissingEngine` without pyarrow, and `ProblemError` for a file that is no table.
    """
    try:
        import pyarrow as pa
        from pyarrow import ipc, parquet
    except ImportError:
        raise MissingEngine(
            f"{path}: tables are read with pyarrow, which is not installed; "
            "pip install 'stepcoder-dist[parquet]', or save the set as JSON lines"
        ) from None
    try:
        if path.suffix == ".parquet":
            batches = parquet.ParquetFile(path).iter_batches(_BATCH_ROWS)
        else:
            batches = ipc.open_stream(pa.memory_map(str(path)))
        number = 0
        for batch in batches:
            for at in range(0, batch.num_rows, _BATCH_ROWS):
                for row in _converted(batch.slice(at, _BATCH_ROWS)):
                    number += 1
                    where = f"{path}:{number}"
                    bad = isinstance(row, ProblemError)
                    yield ProblemError(f"{where}: {row}") if bad else (where, row)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ProblemError(f"{path}: no table that can be read ({reason}); restore it") from None


def _converted(batch: Any) -> Iterator[dict[str, Any] | ProblemError]:
    """Yield the rows of a batch as dictionaries, and an error without its place for others.

    A text may be no UTF-8; a time may have nanoseconds, or a year that Python's have not.
    """
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows > 1:
            for at in range(batch.num_rows):
                yield from _converted(batch.slice(at, 1))
        else:
            reason = str(error).partition("\n")[0].partition(". ")[0]
            yield ProblemError(f"a value that cannot be read ({reason})")
