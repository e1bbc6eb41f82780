"""Users of the host's that programs run as: nobody else's, and each zygote's its own."""

from __future__ import annotations

import itertools
import random

APART = 2**20
"""Between a zygote's user for programs and its user for assert scripts."""
_FIRST = 200_000
_PLACES = itertools.count(random.randrange(APART))


def next_user() -> int:
    """Return a user id that no other zygote of this process has.

    RLIMIT_NPROC counts by user, on the entire machine. Other processes of ours begin at a random
    place.
    """
    return _FIRST + next(_PLACES) % APART
