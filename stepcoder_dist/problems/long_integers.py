"""Integers of more than 4,300 digits, which older sets have, in JSON and in Python text.

Python does not convert so long ones by default, since the time grows with the square of the length.
Here it does up to `MOST_DIGITS`, in a process that reads problem sets.
"""

from __future__ import annotations

import sys

MOST_DIGITS = 200_000
"""A tenth of a second to read."""


def allow() -> None:
    """Let this process read and write integers of that length; a higher limit is left as it is."""
    limit = sys.get_int_max_str_digits()
    if 0 < limit < MOST_DIGITS:
        sys.set_int_max_str_digits(MOST_DIGITS)
