"""Executors as Ray actors: routing, faults, restarts, nothing left."""

from __future__ import annotations

import asyncio

import pytest

from sandbox import backend
from sandbox.container import connect
from sandbox.executor_pool import ExecutorPool
from sandbox.orphans import RUN_LABEL
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import MissingEngine
from stepcoder_dist.records import Outcome, TestSuite

SUITE = TestSuite(inputs=("1\n", "2\n"), outputs=("2\n", "4\n"))
RIGHT = "print(2 * int(input()))\n"


def config(kind: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "test",
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sandbox": {
                "backend": kind,
                "number": 2,
                "containers": 1,
                "resources": {"num_cpus": 0.5},
            },
        }
    )


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
def run_config(request: pytest.FixtureRequest) -> RunConfig:
    made = config(request.param)
    try:
        backend.choose(made.sandbox)
    except MissingEngine as error:
        pytest.skip(str(error))
    return made


def containers() -> set[str]:
    client = connect()
    try:
        found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
        return {c.id for c in found}
    finally:
        client.close()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_programs_spread_over_executors_and_a_dead_one_is_replaced(run_config):
    import ray

    docker = run_config.sandbox.backend == "docker"
    before = containers() if docker else set()

    async def run() -> None:
        pool = ExecutorPool(run_config)
        try:
            await pool.start()
            verdicts = await asyncio.gather(*(pool.judge(RIGHT, SUITE) for _ in range(20)))
            assert [v.outcome for v in verdicts] == [Outcome.PASSED] * 20
            told = [await e.handle.stats.remote() for e in pool._executors]
            assert all(t["verdicts"] > 0 for t in told)

            slow = "import time\ntime.sleep(0.5)\nprint(2 * int(input()))\n"
            working = [asyncio.ensure_future(pool.judge(slow, SUITE)) for _ in range(4)]
            await asyncio.sleep(0.3)
            ray.kill(pool._executors[0].handle)
            verdicts = await asyncio.gather(*working)
            assert [v.outcome for v in verdicts] == [Outcome.PASSED] * 4
            assert (await pool.stats())["restarts"] == 1
        finally:
            await pool.close()
        if docker:
            for _ in range(50):  # the killed executor's container is the engine's to remove
                if containers() <= before:
                    break
                await asyncio.sleep(0.2)
            assert containers() <= before

    asyncio.run(run())


def test_docker_without_an_engine_says_how_to_get_one(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(MissingEngine, match=r"apt-get install docker\.io"):
        backend.choose(config("docker").sandbox)
    assert backend.choose(config("auto").sandbox) == "process"


@pytest.mark.docker
def test_an_engine_without_the_image_is_an_error_for_auto_as_well():
    sandbox = config("auto").sandbox.model_copy(update={"image": "stepcoder-none:none"})
    try:
        connect().close()
    except MissingEngine as error:
        pytest.skip(str(error))
    with pytest.raises(MissingEngine, match="make sandbox-image"):
        backend.choose(sandbox)
