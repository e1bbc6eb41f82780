"""Processes that have joined one gloo group, without Ray: what a learner rank's files do alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

Run = Callable[..., list[Any]]
"""Call a function of a test module, with the same arguments, on every rank: the answers by rank."""

LIMIT_S = 200


@contextmanager
def gloo_ranks(ranks: int) -> Iterator[Run]:
    """Start the processes, let them join, end them."""
    from learner import zero_engine

    store, port = zero_engine.open_store("127.0.0.1", ranks)
    spawn = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch:
        # DeepSpeed chooses its accelerator when it is imported
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setenv("GOMP_SPINCOUNT", "1000")
        processes = [ProcessPoolExecutor(1, mp_context=spawn) for _ in range(ranks)]
        try:
            _on_all(processes, _join, port)

            def run(function: Callable[..., Any], *arguments: Any) -> list[Any]:
                return _on_all(processes, _without_rank, function, *arguments)

            yield run
        finally:
            for process in processes:
                process.shutdown(wait=False, cancel_futures=True)
            del store


def _on_all(
    processes: list[ProcessPoolExecutor], function: Callable[..., Any], *arguments: Any
) -> list[Any]:
    calls = [
        process.submit(function, rank, len(processes), *arguments)
        for rank, process in enumerate(processes)
    ]
    return [call.result(timeout=LIMIT_S) for call in calls]


def _without_rank(_rank: int, _ranks: int, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _join(rank: int, ranks: int, port: int) -> None:
    import warnings

    from torch.distributed import TCPStore

    from learner import zero_engine

    warnings.filterwarnings("ignore", category=FutureWarning)
    store = TCPStore("127.0.0.1", port, ranks, timeout=zero_engine.COLLECTIVE_TIMEOUT)
    zero_engine.join(store, rank, ranks, threads=1)
