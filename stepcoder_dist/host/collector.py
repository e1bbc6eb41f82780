"""Less of the cyclic garbage collector, where it finds next to nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def resting() -> Iterator[None]:
    """Rest the cyclic collector, and spare it for good what was made meanwhile.

    vLLM, torch and transformers make a million objects when they are imported, and all of them
    stay: to search them for garbage again and again takes a quarter of the import's seconds.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


SELDOM = 50_000, 4, 4
"""Objects more than before after which the collector goes through the new ones, and how many such
times until it goes through the older and the oldest too. Python's own are 700, 10 and 10."""


@contextmanager
def seldom() -> Iterator[None]:
    """Have the cyclic collector search by `SELDOM`, and spare what is there already.

    A loop that holds thousands of samples frees them by their reference counts. To go through all
    of them again and again took a third of the driver's time.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
