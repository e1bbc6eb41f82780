"""Freed memory that the C library keeps, given back to the system where it is much.

Tensors on a CPU come from malloc. Their sizes differ from batch to batch, so freed pieces do not
fit the next ones, and a process grows to several times what it ever used at once.
"""

from __future__ import annotations

import ctypes

MOST_KEPT_BYTES = 2**30
"""Less is kept: it is faster to use again than new memory."""


class _Mallinfo2(ctypes.Structure):
    """Glibc's `struct mallinfo2`, of all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def give_back(most_kept_bytes: int = MOST_KEPT_BYTES) -> bool:
    """Return what is free to the system where it is more; say whether that was so.

    Does nothing where the C library is not glibc 2.33 or newer.
    """
    library = ctypes.CDLL(None)
    try:
        count, trim = library.mallinfo2, library.malloc_trim
    except AttributeError:
        return False
    count.restype = _Mallinfo2
    if count().fordblks <= most_kept_bytes:
        return False
    trim(ctypes.c_size_t(0))
    return True
