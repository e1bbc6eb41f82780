"""Users of the host's that programs run as: nobody else's, and each zygote's its own."""

from __future__ import annotations

import itertools
import random

APART = 2**20
"""Between a zygote's user for programs and its user for assert scripts."""
_FIRST = 200_000
_PLACES = itertools.count(random.randrange(APART))


_FIRST_ROOTLESS, _APART_ROOTLESS = 1000, 30_000


def next_rootless_users() -> tuple[int, int]:
    """Return users for programs and for scripts of a container whose engine runs without root.

    Such an engine has 65536 users to give (`/etc/subuid`), for all its containers together.
    """
    first = _FIRST_ROOTLESS + next(_PLACES) % _APART_ROOTLESS
    return first, first + _APART_ROOTLESS


def next_user() -> int:
    """Return a user id that no other zygote of this process has.

    RLIMIT_NPROC counts by user, on the entire machine. Other processes of ours begin at a random
    place.
    """
    return _FIRST + next(_PLACES) % APART
