"""A Docker engine takes connections and answers nothing: others judge, with the same verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from silent_engine import SilentEngine

pytest.importorskip("ray")

import ray

from sandbox.containers.container import check_image, connect
from sandbox.containers.orphans import OWNER_LABEL, RUN_LABEL
from sandbox.pool.executor_pool import ExecutorPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite, Verdict

pytestmark = [pytest.mark.faults, pytest.mark.docker]

SUITE = TestSuite(inputs=("1", "2"), outputs=("2", "4"))
KINDS = (
    ("print(2 * int(input()))", Outcome.PASSED),
    ("print(3 * int(input()))", Outcome.WRONG_ANSWER),
    ("print(2 * int(input()) // 0)", Outcome.RUNTIME_ERROR),
    ("print(", Outcome.COMPILE_ERROR),
)


def test_an_engine_that_says_nothing_is_named_within_its_deadline(monkeypatch: pytest.MonkeyPatch):
    with closing(SilentEngine(None)) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        with pytest.raises(MissingEngine, match=r"no Docker engine answers \(.*timed out"):
            connect(answer_s=0.2)
        assert engine.unanswered


@pytest.fixture
def silent(no_local_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentEngine]:
    """The executors of a Ray of the test's own have this socket for their engine."""
    del no_local_ray
    try:
        with closing(connect()) as client:
            check_image(client, SandboxConfig().image)
            engine = client.api.base_url
            path = client.api._custom_adapter.socket_path
    except MissingEngine as error:
        pytest.skip(str(error))
    assert engine == "http+docker://localhost", "an engine behind a Unix socket"
    with closing(SilentEngine(path)) as socket:
        monkeypatch.setenv("DOCKER_HOST", socket.host)
        ray.init(address="local", num_cpus=2, include_dashboard=False)
        yield socket
        ray.shutdown()


def kill_container_of(pid: int) -> None:
    """Kill the one container of an executor's process: it needs another."""
    with closing(connect()) as client:
        found = client.containers.list(filters={"label": RUN_LABEL}, ignore_removed=True)
        (mine,) = (c for c in found if int(c.labels[OWNER_LABEL].rsplit(":", 2)[1]) == pid)
        mine.kill()


def pid_of(actor: ray.actor.ActorHandle) -> int:
    return int(ray.get(actor.__ray_call__.remote(lambda _: __import__("os").getpid()), timeout=60))


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(300)
def test_programs_of_an_executor_whose_engine_says_nothing_are_judged_elsewhere(
    silent: SilentEngine,
):
    config = RunConfig.model_validate(
        {
            "name": "silent",
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sandbox": {
                "backend": "docker",
                "number": 2,
                "containers": 1,
                "attempts": 2,
                "engine_answer_s": 8,  # a busy machine starts a container in some seconds
                "engine_wait_s": 1,
                "resources": {"num_cpus": 0.5},
            },
        }
    )

    async def run() -> list[Verdict]:
        pool = ExecutorPool(config)
        try:
            await pool.start()
            mute = await asyncio.to_thread(pid_of, pool._executors[0].actor)
            silent.ignored.add(mute)
            await asyncio.to_thread(kill_container_of, mute)
            programs = [f"# {i}\n{KINDS[i % 4][0]}\n" for i in range(6)]
            judging = (pool.judge(p, SUITE, problem_id="double") for p in programs)
            return await asyncio.gather(*judging)
        finally:
            await pool.close()

    verdicts = asyncio.run(run())
    assert [verdict.outcome for verdict in verdicts] == [KINDS[i % 4][1] for i in range(6)]
    assert {verdict.executor for verdict in verdicts} == {"sandbox-1"}
    assert silent.unanswered
