"""Whatever of the sandbox dies: every program has its right verdict, exactly once."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import socket
import struct
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from guest_containers import BACKENDS, SHORT_ON_DOCKER, available
from own_engine import OwnEngine

from sandbox.attached.attached_pool import AttachedPool
from sandbox.backend import open_pool
from sandbox.bubblewrap.bubblewrap_pool import BubblewrapPool
from sandbox.containers import container
from sandbox.containers.container import check_image, connect
from sandbox.containers.container_pool import ContainerPool
from sandbox.pool.executor_actor import ExecutorActor
from sandbox.pool.executor_pool import ExecutorPool
from sandbox.worker_pool import WorkerPool
from stepcoder_dist.config import RunConfig, SandboxConfig
from stepcoder_dist.errors import EngineAway, MissingEngine, SandboxFault
from stepcoder_dist.host import process_identity
from stepcoder_dist.records import Outcome, TestSuite, Verdict

IMAGE = SandboxConfig().image
SUITE = TestSuite(inputs=("1", "2"), outputs=("2", "4"))
KINDS = (
    ("print(2 * int(input()))\n", Outcome.PASSED),
    ("print(3 * int(input()))\n", Outcome.WRONG_ANSWER),
    ("print(2 * int(input()) // 0)\n", Outcome.RUNTIME_ERROR),
    ("print(\n", Outcome.COMPILE_ERROR),
)


def programs(count: int, seconds: float) -> dict[str, Outcome]:
    """Different sources that take so long in each test, and the verdict that each must have."""
    waiting = f"import time; time.sleep({seconds})\n"
    return {
        f"# {i}\n{waiting}{source}": outcome
        for i in range(count)
        for source, outcome in [KINDS[i % len(KINDS)]]
    }


class Judged:
    """Verdicts on some programs, as they come."""

    def __init__(self, pool: WorkerPool | ExecutorPool, expected: dict[str, Outcome]) -> None:
        self._pool, self._expected = pool, expected
        self._changed = asyncio.Event()
        self.seen: Counter[tuple[str, Outcome]] = Counter()
        self._working = [asyncio.ensure_future(self._judge(source)) for source in expected]

    async def _judge(self, source: str) -> None:
        verdict = await self._pool.judge(source, SUITE, problem_id="double")
        self.seen[source, verdict.outcome] += 1
        self._changed.set()

    async def first(self, count: int) -> None:
        while self.seen.total() < count:
            self._changed.clear()
            await self._changed.wait()

    async def all_right_and_once(self) -> None:
        await asyncio.gather(*self._working)
        assert self.seen == Counter(self._expected.items())


@pytest.fixture(params=BACKENDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    with warnings.catch_warnings(), available(request.param, tmp_path, 2) as found:
        warnings.simplefilter("ignore")
        yield found


def needs_engine() -> None:
    try:
        client = connect()
        check_image(client, IMAGE)
        client.close()
    except MissingEngine as error:
        pytest.skip(str(error))


def has_ended(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while process_identity.started(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def missed(pool: WorkerPool, more: int) -> None:
    """Wait for so many faults more."""
    most, deadline = pool.stats.faults + more, time.monotonic() + 30
    while pool.stats.faults < most:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def zygotes(pool: WorkerPool) -> list[int]:
    """Process ids, on this host, of the zygotes that live."""
    workers = [seat._worker for seat in pool._seats if seat._worker is not None]
    if isinstance(pool, ContainerPool):
        found = [pool._client.api.inspect_container(worker.name) for worker in workers]
        return [pid for one in found if (pid := one["State"]["Pid"])]
    if isinstance(pool, AttachedPool):
        return [peer(worker._channel._socket) for worker in workers]
    if isinstance(pool, BubblewrapPool):
        return [child for worker in workers for child in children(worker.pid)]
    return [worker._process.pid for worker in workers]


def peer(connected: socket.socket) -> int:
    """Return the process at the other end, as this host numbers it."""
    found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[0])


def children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except FileNotFoundError:
        return []


def asleep(zygote: int) -> int:
    """Wait until a zygote's child runs its program, which sleeps; return the child's id."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for pid in children(zygote):
            if "nanosleep" in Path(f"/proc/{pid}/wchan").read_text("ascii"):
                return pid
        time.sleep(0.01)
    pytest.fail("no program sleeps")


def test_killed_zygotes_cost_tries_and_no_verdict(where):
    async def run() -> None:
        async with open_pool(**where, containers=2, attempts=5) as pool:
            judged = Judged(pool, programs(24, 0.1))
            for count in (4, 12):
                await judged.first(count)
                for pid in zygotes(pool):
                    os.kill(pid, signal.SIGKILL)
            await judged.all_right_and_once()
            assert pool.stats.verdicts == 24
            assert pool.stats.recycled >= 2

    asyncio.run(run())


@pytest.mark.faults
@pytest.mark.parametrize("where", SHORT_ON_DOCKER, indirect=True)
def test_a_zygote_that_hangs_costs_a_try_and_no_verdict(where, monkeypatch):
    monkeypatch.setattr("sandbox.guest_link.GRACE_S", 2.0)

    async def run() -> None:
        async with open_pool(
            **where, containers=2, attempts=5, cpu_limit_s=1, wall_limit_s=3
        ) as pool:
            judged = Judged(pool, programs(16, 0.1))
            await judged.first(2)
            hung = zygotes(pool)[0]
            os.kill(hung, signal.SIGSTOP)
            await judged.all_right_and_once()
            assert pool.stats.faults >= 1
            if where["backend"] != "attached":  # whose guests are for their supervisor to end
                assert await asyncio.to_thread(has_ended, hung)

    asyncio.run(run())


def test_a_program_ends_with_its_zygote(where):
    async def run() -> None:
        async with open_pool(**where, containers=1, attempts=1) as pool:
            (zygote,) = zygotes(pool)
            endless = asyncio.ensure_future(
                pool.judge("import time\ntime.sleep(9)\n", SUITE, problem_id="double")
            )
            program = await asyncio.to_thread(asleep, zygote)
            os.kill(zygote, signal.SIGKILL)
            with pytest.raises(SandboxFault):
                await endless
            assert await asyncio.to_thread(has_ended, program)

    asyncio.run(run())


@pytest.mark.docker
def test_killed_containers_cost_tries_and_no_verdict():
    needs_engine()

    async def run() -> None:
        client = connect()
        async with open_pool(containers=3, attempts=5) as pool:
            judged = Judged(pool, programs(36, 0.1))
            for count in (6, 18):
                await judged.first(count)
                names = [seat._worker.name for seat in pool._seats if seat._worker]
                for name in names[:2]:
                    await asyncio.to_thread(client.containers.get(name).kill)
            await judged.all_right_and_once()
        client.close()

    asyncio.run(run())


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_killed_executors_cost_tries_and_no_verdict(where):
    import ray

    section = where | {"number": 2, "containers": 1, "resources": {"num_cpus": 0.5}}
    config = RunConfig.model_validate(
        {
            "name": "test",
            "model": {"path": "none"},
            "problems": {"train": "none", "heldout": "none"},
            "sandbox": section | {"attempts": 5},
        }
    )

    async def run() -> None:
        pool = ExecutorPool(config)
        try:
            await pool.start()
            judged = Judged(pool, programs(32, 0.1))
            for count, killed in ((4, (0,)), (10, (1,)), (18, (0, 1))):
                await judged.first(count)
                for number in killed:
                    ray.kill(pool._executors[number].actor)
            await judged.all_right_and_once()
            assert (await pool.stats())["restarts"] >= 3
        finally:
            await pool.close()

    asyncio.run(run())


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    needs_engine()
    if not shutil.which("dockerd") or os.geteuid():
        pytest.skip("an engine of one's own needs dockerd and root")
    own = OwnEngine(IMAGE)
    yield own
    own.remove()


@pytest.mark.docker
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_is_stopped_and_started_costs_time_and_no_try(engine, by, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", engine.host)

    async def run() -> None:
        async with open_pool(containers=2, attempts=1, engine_wait_s=60) as pool:
            judged = Judged(pool, programs(24, 0.2))
            await judged.first(6)
            await asyncio.to_thread(engine.end, by)
            await asyncio.to_thread(missed, pool, 4)  # a program has one try
            await asyncio.to_thread(engine.start)
            await judged.all_right_and_once()
            assert pool.stats.verdicts == 24
            in_use = {seat._worker.name for seat in pool._seats}
            assert set(engine.containers()) == in_use  # not those that could not be removed
        assert engine.containers() == []

    asyncio.run(run())


@pytest.mark.docker
def test_an_engine_that_stays_away_is_one_clear_error(engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", engine.host)

    async def run() -> None:
        async with open_pool(containers=1, engine_wait_s=1) as pool:
            await asyncio.to_thread(engine.end)
            try:
                for _ in range(2):
                    with pytest.raises(SandboxFault, match=r"waited 1 s for it .*engine_wait_s"):
                        await pool.judge("print(2 * int(input()))\n", SUITE, problem_id="double")
            finally:
                await asyncio.to_thread(engine.start)

    asyncio.run(run())


@pytest.mark.docker
@pytest.mark.parametrize("missed_at", [0, 1])
def test_an_executor_waits_for_an_engine_that_goes_at_any_moment_of_its_start(
    monkeypatch, missed_at
):
    needs_engine()
    asked, client = itertools.count(), container._client

    def away_once(answer_s: float) -> docker.DockerClient:
        if next(asked) == missed_at:
            raise EngineAway("no Docker engine answers")
        return client(answer_s)

    monkeypatch.setattr(container, "_client", away_once)

    async def judged() -> Verdict:
        executor = ExecutorActor("sandbox-0", SandboxConfig(containers=1))
        await executor.start("docker")
        try:
            return await executor.judge("print(2 * int(input()))\n", SUITE, "double")
        finally:
            await executor.close()

    assert asyncio.run(judged()).outcome is Outcome.PASSED
