"""Executors as Ray actors: routing, faults, restarts, nothing left."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guest_containers import BACKENDS, available

from sandbox import backend
from sandbox.containers.container import connect
from sandbox.containers.orphans import RUN_LABEL
from sandbox.pool.executor_pool import ExecutorPool
from stepcoder_dist.config import RunConfig
from stepcoder_dist.errors import CheckerFault, MissingEngine, SandboxFault
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


@pytest.fixture(params=BACKENDS)
def run_config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunConfig]:
    made = config("process")
    with available(request.param, tmp_path, made.sandbox.number) as where:
        yield made.model_copy(update={"sandbox": made.sandbox.model_copy(update=where)})


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that programs can see, whatever user they run as."""
    with tempfile.TemporaryDirectory(prefix="gates-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


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
            verdicts = await asyncio.gather(
                *(pool.judge(RIGHT, SUITE, problem_id="double") for _ in range(20))
            )
            assert [v.outcome for v in verdicts] == [Outcome.PASSED] * 20
            told = [await e.stats() for e in pool._executors]
            assert all(t["verdicts"] > 0 for t in told)

            slow = "import time\ntime.sleep(0.5)\nprint(2 * int(input()))\n"
            working = [
                asyncio.ensure_future(pool.judge(slow, SUITE, problem_id="double"))
                for _ in range(4)
            ]
            await asyncio.sleep(0.3)
            ray.kill(pool._executors[0].actor)
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


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_the_pool_is_resized_while_it_works_and_every_program_has_one_verdict():
    async def run() -> None:
        pool = ExecutorPool(config("process"))
        judged: list[Outcome] = []

        async def judge(number: int) -> None:
            source = f"# {number}\nprint(2 * int(input()))\n"
            judged.append((await pool.judge(source, SUITE, problem_id="double")).outcome)

        try:
            await pool.start()
            working = [asyncio.ensure_future(judge(i)) for i in range(300)]
            for size in (3, 1, 2):
                await pool.resize(size)
                stats = await pool.stats()
                assert stats["executors"] == size
                assert len(pool._executors) == size
                assert stats["waiting"] + stats["in_flight"] + len(judged) == 300
            await asyncio.gather(*working)
            assert judged == [Outcome.PASSED] * 300
            stats = await pool.stats()
            assert (stats["waiting"], stats["in_flight"], stats["restarts"]) == (0, 0, 0)
            with pytest.raises(ValueError, match="at least one"):
                await pool.resize(0)
        finally:
            await pool.close()

    asyncio.run(run())


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_checkers_fault_is_told_at_once_and_costs_no_executor():
    async def run() -> None:
        pool = ExecutorPool(config("process"))
        failing = TestSuite(
            inputs=("",), outputs=("",), checker="def check(i, e, a):\n    return 1 / 0\n"
        )
        try:
            await pool.start()
            with pytest.raises(CheckerFault, match="ZeroDivisionError"):
                await pool.judge("print(1)", failing, problem_id="failing")
            stats = await pool.stats()
            assert (stats["faults"], stats["recycled"], stats["restarts"]) == (0, 0, 0)
            assert (await pool.judge(RIGHT, SUITE, problem_id="double")).outcome is Outcome.PASSED
        finally:
            await pool.close()

    asyncio.run(run())


async def until_it_is_lost(reference: Any) -> None:
    """Ray notices the end of an object's owner after a moment."""
    from ray.exceptions import ObjectLostError

    for _ in range(150):
        try:
            await reference
        except ObjectLostError:
            return
        await asyncio.sleep(0.2)
    raise AssertionError("the object is still there")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_the_tests_of_a_problem_that_are_lost_are_a_fault_and_put_again():
    import ray

    @ray.remote
    class Owner:
        """What it put into the object store is lost when it ends."""

        def put(self) -> list[ray.ObjectRef]:
            return [ray.put(SUITE)]

    async def run() -> None:
        made = config("process")
        once = made.model_copy(update={"sandbox": made.sandbox.model_copy(update={"attempts": 1})})
        pool = ExecutorPool(once)
        try:
            await pool.start()
            assert (await pool.judge(RIGHT, SUITE, problem_id="double")).outcome is Outcome.PASSED
            owner = Owner.remote()
            [lost] = await owner.put.remote()
            ray.kill(owner)
            await until_it_is_lost(lost)
            pool._suites._held["double"] = SUITE, lost
            with pytest.raises(SandboxFault, match=r"the tests of double are lost from Ray's"):
                await pool.judge(RIGHT, SUITE, problem_id="double")
            assert (await pool.judge(RIGHT, SUITE, problem_id="double")).outcome is Outcome.PASSED
            assert (await pool.stats())["restarts"] == 0
        finally:
            await pool.close()

    asyncio.run(run())


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_slow_programs_hold_up_neither_another_program_nor_another_problem(open_folder: Path):
    """Two containers; one problem's programs wait to be let go, and there are more of them."""
    waiting = "import os, time\nwhile not os.path.exists({!r}):\n    time.sleep(0.02)\n" + RIGHT
    gates = [open_folder / f"go-{number}" for number in range(4)]

    async def run() -> None:
        made = config("process")
        patient = made.sandbox.model_copy(update={"cpu_limit_s": 60.0, "wall_limit_s": 120.0})
        pool = ExecutorPool(made.model_copy(update={"sandbox": patient}))
        other = TestSuite(inputs=("1\n",), outputs=("2\n",))
        try:
            await pool.start()
            slow = [
                asyncio.ensure_future(
                    pool.judge(waiting.format(str(gate)), SUITE, problem_id="double")
                )
                for gate in gates
            ]
            others = [
                asyncio.ensure_future(pool.judge(RIGHT, other, problem_id="other"))
                for _ in range(10)
            ]
            gates[0].touch()
            # the container that comes free is the other problem's, though two were in line before
            await asyncio.gather(*others)
            assert [each.done() for each in slow] == [True, False, False, False]
            for gate in gates:
                gate.touch()
            assert {(await each).outcome for each in slow} == {Outcome.PASSED}
        finally:
            await pool.close()

    asyncio.run(run())


def shown_now() -> dict[str, float]:
    """What Ray's agent on this node exports of the sandbox: name and labels -> value."""
    import ray

    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, float] = {}
    for line in lines:
        if line.startswith("ray_stepcoder_sandbox_"):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.removeprefix("ray_stepcoder_sandbox_").partition("{")
            kind = re.search(r'(outcome|executor|le)="([^"]*)"', labels)
            found[f"{name} {kind[2]}" if kind else name] = float(value)
    return found


@pytest.mark.ray
def test_the_pools_figures_are_exported_by_name():
    """In a driver and a Ray of its own: figures add up over a driver's life."""
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ
        | {"RAY_metrics_report_interval_ms": "500", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def the_pools_figures() -> None:
    import ray

    pool = ExecutorPool(config("process"))
    try:
        await pool.start()
        await asyncio.gather(*(pool.judge(RIGHT, SUITE, problem_id="double") for _ in range(20)))
        await pool.judge("1 / 0", SUITE, problem_id="double")
        ray.kill(pool._executors[0].actor)
        await asyncio.gather(*(pool.judge(RIGHT, SUITE, problem_id="double") for _ in range(4)))
        told = await pool.stats()
        shown = {f"latency_p{p}_ms": told[f"latency_p{p}_ms"] for p in (50, 95, 99)}
        assert 0 < shown["latency_p50_ms"] <= shown["latency_p95_ms"] <= shown["latency_p99_ms"]
        found = await exported(
            **shown,
            latency_ms_count=25,
            restarts_total=1,
            executors=2,
            waiting=0,
            in_flight=0,
            **{
                "verdicts_total passed": 24,
                "verdicts_total runtime_error": 1,
                "containers sandbox-0": 1,
                "containers sandbox-1": 1,
                "recycled sandbox-1": 0,
                "container_faults sandbox-1": 0,
            },
        )
        assert found["faults_total"] >= 1
    finally:
        await pool.close()


async def exported(**expected: float) -> dict[str, float]:
    """The last value of each series, once these are what is expected.

    Ray sends figures to its agent from time to time, and the agent shows a gauge once for each
    time that it was set.
    """
    deadline = time.monotonic() + 60
    found: dict[str, float] = {}
    while not expected.items() <= (found := found | shown_now()).items():
        assert time.monotonic() < deadline, {name: found.get(name) for name in expected}
        await asyncio.sleep(0.2)
    return found


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_an_executor_that_cannot_judge_names_its_node_and_what_to_do():
    import ray

    async def run() -> None:
        made = config("docker")
        changes = {"number": 1, "image": "stepcoder-none:none"}
        without = made.sandbox.model_copy(update=changes)
        pool = ExecutorPool(made.model_copy(update={"sandbox": without}))
        node = re.escape(ray.nodes()[0]["NodeManagerAddress"])
        to_do = r"(make sandbox-image|apt-get install docker\.io)"
        try:
            with pytest.raises(MissingEngine, match=rf"^node {node}: .*{to_do}") as told:
                await pool.choose()
            assert len(str(told.value).splitlines()) == 1
        finally:
            await pool.close()

    asyncio.run(run())


def test_docker_without_an_engine_says_how_to_get_one(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(MissingEngine, match=r"apt-get install docker\.io"):
        backend.choose(config("docker").sandbox)
    assert backend.choose(config("auto").sandbox) in ("bubblewrap", "process")


@pytest.mark.docker
def test_an_engine_without_the_image_is_an_error_for_auto_as_well():
    sandbox = config("auto").sandbox.model_copy(update={"image": "stepcoder-none:none"})
    try:
        connect().close()
    except MissingEngine as error:
        pytest.skip(str(error))
    with pytest.raises(MissingEngine, match="make sandbox-image"):
        backend.choose(sandbox)


if __name__ == "__main__":
    import ray

    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    asyncio.run(the_pools_figures())
