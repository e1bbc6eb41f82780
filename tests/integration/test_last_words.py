"""What a process wrote to its standard error before its death is in the error or in the log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import RayActorError

from learner.rank_group import RankGroup
from sandbox.pool.executor_pool import ExecutorPool
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import LearnerError, SandboxFault, notes
from stepcoder_dist.launch.cluster import last_words
from stepcoder_dist.records import TestSuite

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

SUITE = TestSuite(inputs=("1\n",), outputs=("2\n",))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may be busy: what is tested is the words, not the limit."""
    monkeypatch.setattr(last_words, "DEADLINE_S", 60.0)


def config(**sections: Any) -> RunConfig:
    base = {
        "name": "words",
        "model": {"path": "none"},
        "problems": {"train": "none", "heldout": "none"},
        "sandbox": {"backend": "process", "number": 2, "containers": 1},
    }
    return RunConfig.model_validate(base | sections)


def ranks(number: int, silence_s: float = 180, **methods: Callable[..., Any]) -> RankGroup:
    """A group whose ranks have these methods and no network. Ray sends its class by value."""

    def worker() -> Any:
        class Worker:
            def __init__(self, _config: Any, _checkpoint: str, rank: int, _ranks: int) -> None:
                self.rank = rank

            def rendezvous(self) -> tuple[str, int]:
                return "here", 1

            def start(self, _host: str, _port: int) -> None:
                pass

        for name, method in methods.items():
            setattr(Worker, name, method)
        return Worker

    run = config(learner={"ranks": number, "zero_stage": 0, "silence_s": silence_s})
    return RankGroup(worker, run, "none", last_words=last_words.last_words)


def error_of_step(group: RankGroup) -> LearnerError:
    async def scenario() -> None:
        try:
            await group.start()
            await group.call("step")
        finally:
            await group.close()

    with pytest.raises(LearnerError) as raised:
        asyncio.run(scenario())
    return raised.value


def test_the_last_lines_of_a_dead_rank_come_with_the_error() -> None:
    def step(_self: Any) -> None:
        os.write(2, b"".join(b"line %d\n" % n for n in range(40)))
        os.write(2, b"\x1b[31mCUDA error: an illegal memory access\x1b[0m\n")
        os.kill(os.getpid(), signal.SIGKILL)

    error = error_of_step(ranks(1, step=step))
    assert str(error).startswith("learner-rank-0 died in step")
    (note,) = notes(error)
    heading, *lines = note.splitlines()
    assert heading.startswith("the last lines of process ")
    assert lines == [
        *(f"  line {n}" for n in range(26, 40)),
        "  CUDA error: an illegal memory access",
    ]


def test_a_rank_that_dies_while_it_starts_is_heard_too() -> None:
    def rendezvous(_self: Any) -> None:
        os.write(2, b"libcudart.so.13: cannot open shared object file\n")
        os._exit(1)

    error = error_of_step(ranks(1, rendezvous=rendezvous))
    assert "  libcudart.so.13: cannot open shared object file" in notes(error)[0].splitlines()


def test_a_peer_that_notices_first_is_the_error_and_the_dead_rank_its_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("learner.rank_group.DEATH_S", 60.0)

    def step(self: Any) -> None:
        if self.rank == 0:
            raise RuntimeError("Connection closed by peer")
        os.write(2, b"Killed by NCCL\n")
        os.kill(os.getpid(), signal.SIGKILL)

    error = error_of_step(ranks(2, step=step))
    # whichever Ray reports first
    assert "learner-rank-1 died in step" in "\n".join([str(error), *notes(error)])
    assert "  Killed by NCCL" in "\n".join(notes(error)).splitlines()


def test_a_rank_that_hangs_is_the_error_and_not_its_peer_that_waits_for_it() -> None:
    def step(self: Any) -> None:
        if self.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()

    error = error_of_step(ranks(2, silence_s=15, step=step))
    assert str(error).startswith("learner-rank-1 has not answered for 15 s: it hangs in step")


def test_an_error_that_is_no_death_has_no_words() -> None:
    def step(_self: Any) -> None:
        os.write(2, b"a warning of some library\n")
        raise LearnerError("the gradients' norm is nan")

    error = error_of_step(ranks(1, step=step))
    assert str(error) == "the gradients' norm is nan"
    assert notes(error) == []


def test_the_last_lines_of_a_dead_executor_are_logged_while_another_judges(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def end(_executor: Any) -> None:
        os.write(2, b"containerd went away\n")
        os.kill(os.getpid(), signal.SIGKILL)

    async def scenario() -> str:
        pool = ExecutorPool(config(), last_words=last_words.last_words)
        try:
            await pool.start()
            lost = pool._executors[0].actor
            with pytest.raises(RayActorError):
                await lost.__ray_call__.remote(end)
            verdicts = [pool.judge("print(2)", SUITE, problem_id=f"{n}") for n in range(4)]
            return {v.outcome for v in await asyncio.gather(*verdicts)}.pop()
        finally:
            await pool.close()

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(scenario()) == "passed"
    (words,) = [r.getMessage() for r in caplog.records if "last lines" in r.getMessage()]
    assert words.startswith("sandbox-0, the last lines of process ")
    assert "  containerd went away" in words.splitlines()


def test_an_executor_that_dies_while_it_starts_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from sandbox.pool import executor_handle

    class Dies:
        def __init__(self, *_: Any) -> None:
            os.write(2, b"no such device\n")
            os._exit(1)

        def choose(self) -> None:
            pass

        def close(self) -> None:
            pass

    monkeypatch.setattr(executor_handle, "ExecutorActor", Dies)
    pool = ExecutorPool(config(), last_words=last_words.last_words)
    with pytest.raises(SandboxFault, match="did not start") as raised:
        asyncio.run(pool.choose())
    assert "  no such device" in "\n".join(notes(raised.value)).splitlines()


def test_a_node_that_is_gone_is_said() -> None:
    error = RayActorError(error_msg="The actor died.\n\tpid: 7\n\tip: 203.0.113.9\nIts node died.")
    words = asyncio.run(last_words.last_words(error))
    assert words == "process 7 on node 203.0.113.9: the node is gone, and its log with it"
