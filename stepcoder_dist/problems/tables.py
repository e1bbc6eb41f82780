"""Rows of tables: parquet files, and arrow files as `datasets` writes them. They need pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepcoder_dist.errors import MissingEngine, ProblemError

ENDINGS = (".parquet", ".arrow")
_BATCH_ROWS = 16
"""Rows held at a time: a row of LiveCodeBench can have hundreds of megabytes."""


def rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every row with its place, as JSON would give it.

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
                for row in batch.slice(at, _BATCH_ROWS).to_pylist():
                    number += 1
                    yield f"{path}:{number}", row
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ProblemError(f"{path}: no table that can be read ({reason}); restore it") from None
