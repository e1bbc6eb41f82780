"""Processes that have joined one gloo group, without Ray: what a learner rank's files do alone."""

from __future__ import annotations

import multiprocessing
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import pytest

Run = Callable[..., list[Any]]
"""Call a function of a test module, with the same arguments, on every rank: the answers by rank."""

LIMIT_S = 200


@contextmanager
def gloo_ranks(ranks: int) -> Iterator[Run]:
    """Start the processes, let them join, end them."""
    from learner.zero import zero_engine

    store, port = zero_engine.open_store("127.0.0.1", ranks)
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    with pytest.MonkeyPatch.context() as patch:
        # DeepSpeed chooses its accelerator when it is imported
        patch.setenv("DS_ACCELERATOR", "cpu")
        patch.setenv("GOMP_SPINCOUNT", "1000")
        # memory that is freed goes back to the system at once, and can be measured
        patch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
        for rank in range(ranks):
            ours, theirs = spawn.Pipe()
            pipes.append(ours)
            processes.append(spawn.Process(target=_serve, args=(rank, ranks, port, theirs)))
            processes[-1].start()
    try:
        yield lambda function, *arguments: _ask(pipes, function, arguments)
    finally:
        for process in processes:
            process.kill()  # some may wait in a collective
            process.join()
        del store


def _ask(pipes: list[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[Any]:
    for pipe in pipes:
        pipe.send((function, arguments))
    answers: dict[int, Any] = {}
    while len(answers) < len(pipes):
        waiting = [pipe for rank, pipe in enumerate(pipes) if rank not in answers]
        ready = wait(waiting, timeout=LIMIT_S)
        assert ready, f"{len(waiting)} ranks did not answer within {LIMIT_S} s"
        for pipe in ready:
            answer, error = pipe.recv()  # type: ignore[union-attr]
            # the other ranks may wait for this one for ever
            assert not error, error
            answers[pipes.index(pipe)] = answer
    return [answers[rank] for rank in range(len(pipes))]


def _serve(rank: int, ranks: int, port: int, pipe: Connection) -> None:
    from torch.distributed import TCPStore

    from learner.zero import zero_engine

    warnings.filterwarnings("ignore", category=FutureWarning)
    store = TCPStore("127.0.0.1", port, ranks, timeout=zero_engine.COLLECTIVE_TIMEOUT)
    zero_engine.join(store, rank, ranks, threads=1)
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send((function(*arguments), ""))
        except Exception:  # noqa: BLE001 (a test's own failure, in its own words)
            pipe.send((None, traceback.format_exc()))
