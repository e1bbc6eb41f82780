"""Large imports without the cyclic garbage collector."""

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
