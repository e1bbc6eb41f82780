"""The checksum that both sides of a weight push compute of its bytes, at the speed of memory.

The bytes are a table of 64-bit words with 1,024 columns. The sums of its rows and the sums of its
columns (modulo 2⁶⁴, a table of 128 rows at a time) go into a CRC-32; bytes that fill no row go into
it as they are. One changed word changes a row's sum; rows, blocks or pages that changed places
change the CRC; words that changed places within a row change the columns' sums.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_COLUMNS = 1024
_ROW_BYTES = 8 * _COLUMNS
_ROWS = 128
"""Rows of one table: 1 MiB, so that the second pass over it finds it in the processor's cache."""


def checksum(pieces: Iterable[npt.NDArray[np.uint8]]) -> int:
    """Return 32 bits over contiguous uint8 arrays, which depend on their order and their sizes."""
    value = 0
    for piece in pieces:
        in_rows = piece.nbytes - piece.nbytes % _ROW_BYTES
        words = piece[:in_rows].view(np.uint64).reshape(-1, _COLUMNS)
        for start in range(0, len(words), _ROWS):
            table = words[start : start + _ROWS]
            value = zlib.crc32(table.sum(axis=1).data, value)
            value = zlib.crc32(table.sum(axis=0).data, value)
        value = zlib.crc32(piece[in_rows:].data, value)
        value = zlib.crc32(piece.nbytes.to_bytes(8, "little"), value)
    return value
